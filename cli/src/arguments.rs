//! The arguments.

use clap::{ArgGroup, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind, parser::ValueSource};

/// Looks at a larder cache, and steers it.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    after_help = "Exit codes:\n  0  done\n  1  it failed: the server or the store did not answer, or the action failed; repeat it\n  2  wrong usage, or \
                  input that can never work, such as an invalid tag\n  3  no access: the token is wrong, or the action is not granted\n  4  `explain`: the URL would not be answered from the cache"
)]
pub(crate) struct Arguments {
    /// URL at which the operator's page is mounted, such as http://localhost:3000/ops/cache.
    #[arg(long, global = true, env = "LARDER_ADMIN", value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// Secret of the page, as given to `Admin::bearer`.
    #[arg(long, global = true, env = "LARDER_TOKEN", hide_env_values = true, value_name = "SECRET")]
    pub(crate) token: Option<String>,
    /// URL of the store, for `invalidate` and `mode … --everywhere` without the page: redis://host, as for `Cache::connect`. Of this and
    /// --admin, one given here takes precedence over one in the environment.
    #[arg(long, global = true, env = "LARDER_STORE", hide_env_values = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Namespace of the cache, with --store.
    #[arg(long, global = true, value_name = "NAME", requires = "store")]
    pub(crate) namespace: Option<String>,
    /// Prints JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads the command line and the environment. Usage errors end the process, with the exit code 2.
    pub(crate) fn read() -> Self {
        let mut command = Self::command();
        let matches = command.get_matches_mut();
        let is_written = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let written = (is_written("admin"), is_written("store"), is_written("namespace"));
        let mut arguments = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
        match written {
            (true, true, _) | (true, _, true) => {
                command.error(ErrorKind::ArgumentConflict, "--admin cannot be used with --store or --namespace").exit()
            }
            (true, false, false) => arguments.store = None,
            (false, true, _) | (false, false, true) => arguments.admin = None,
            // Both are in the environment: the page can do everything.
            (false, false, false) => arguments.store = arguments.store.filter(|_| arguments.admin.is_none()),
        }
        arguments
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows requests, hit ratio and saved time, in total and for each route.
    Stats,
    /// Says what the layer would decide about a request, without running the handler.
    Explain {
        /// The URL.
        url: String,
        /// The method.
        #[arg(short = 'X', long, default_value = "GET")]
        method: String,
        /// A request field, such as "accept-language: de"; may be repeated.
        #[arg(short = 'H', long = "header", value_name = "FIELD")]
        headers: Vec<String>,
        /// The content of a QUERY or POST; `@FILE` reads a file, `@-` the standard input.
        #[arg(short = 'd', long, value_name = "TEXT")]
        data: Option<String>,
    },
    /// Invalidates tags, a URI or a route.
    Invalidate(Invalidate),
    /// Shows the mode, or sets it: enabled, read-only or bypass.
    Mode {
        /// The new mode.
        mode: Option<String>,
        /// Sets the mode of all nodes that use the same store, not of one process.
        #[arg(long, requires = "mode")]
        everywhere: bool,
    },
    /// Shows what the hit ratio would be with half, twice and four times the memory.
    Memory,
    /// Shows hot keys, hot misses and hot tags.
    Hot,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["tags", "tags_from", "uri", "route"]))]
pub(crate) struct Invalidate {
    /// A tag; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// A text file with further tags, one a line; - for the standard input.
    ///
    /// Empty lines are skipped, and white space around a tag is removed. The tags are invalidated in batches of up to 1,000. A batch with an
    /// invalid tag fails in the end, with the exit code 2, and all valid tags take effect; any other failure ends the command, and says
    /// how many tags have taken effect. Repeat it from the start: invalidating a tag again does no harm.
    #[arg(long, value_name = "FILE")]
    pub(crate) tags_from: Option<String>,
    /// A URI, or a path on every host.
    #[arg(long, conflicts_with_all = ["tags", "tags_from", "route"])]
    pub(crate) uri: Option<String>,
    /// A route as in the router, such as /posts/{id}.
    #[arg(long, conflicts_with_all = ["tags", "tags_from"])]
    pub(crate) route: Option<String>,
}
