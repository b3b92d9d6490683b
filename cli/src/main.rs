//! `larder`: looks at a cache, and steers it, by the API of the operator's page; or invalidates and sets the mode in its store.

mod admin;
mod arguments;
mod output;
mod store;
mod tags;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use output::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::read();
    match run(&arguments) {
        Ok(text) => output::print(&text),
        Err(failure) => {
            failure.print(arguments.json);
            failure.exit_code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, Failure> {
    let answer = match (&arguments.store, &arguments.command) {
        (Some(url), Command::Invalidate(what)) => store::invalidate(url, arguments.namespace.as_deref(), what)?,
        (Some(url), Command::Mode { mode: Some(mode), everywhere: true }) => store::set_mode(url, mode)?,
        (Some(_), _) => {
            return Err(Failure::usage("with --store only `invalidate` and `mode … --everywhere` work: give --admin"));
        }
        (None, command) => admin::call(arguments, command)?,
    };
    Ok(if arguments.json { output::json(&answer) } else { output::text(&arguments.command, &answer) })
}
