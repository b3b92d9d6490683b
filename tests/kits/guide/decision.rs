//! The picture of how a request is decided, made from the closed lists `Outcome`, `Forward` and `Reason`.

use std::collections::BTreeMap;

use larder::{Forward, Outcome, Reason};

use super::{keep, path_of, read};

/// A question, in the order in which a layer asks.
struct Step {
    question: &'static str,
    exits: &'static [Exit],
    /// What leads to the next question.
    further: &'static str,
    /// What the further way is called in `Cache-Status`.
    forwards: &'static [Forward],
}

/// A way that ends here.
struct Exit {
    when: &'static str,
    what: &'static str,
    outcome: Outcome,
    forwards: &'static [Forward],
    reasons: &'static [Reason],
}

const STEPS: [Step; 6] = [
    Step {
        question: "Is it a GET, a HEAD, a QUERY, or a POST that the route may answer?",
        exits: &[Exit {
            when: "no",
            what: "the handler answers; after a success, its URI is invalidated",
            outcome: Outcome::Bypass,
            forwards: &[Forward::Method],
            reasons: &[Reason::Method],
        }],
        further: "yes",
        forwards: &[],
    },
    Step {
        question: "Is the cache on, and may a stored response answer such a request?",
        exits: &[Exit {
            when: "no",
            what: "the handler answers, and nothing is stored",
            outcome: Outcome::Bypass,
            forwards: &[Forward::Bypass],
            reasons: &[
                Reason::SwitchedOff,
                Reason::RequestFieldsTooLarge,
                Reason::QueryTooLong,
                Reason::InvalidHost,
                Reason::RequestOverride,
                Reason::RequestBody,
                Reason::NoContentType,
                Reason::RequestBodyTooLarge,
                Reason::RequestBodyTooSlow,
                Reason::RequestBodyIncomplete,
                Reason::RequestBodyLimit,
                Reason::RequestBodyType,
                Reason::RequestTrailers,
                Reason::Precondition,
                Reason::Upgrade,
                Reason::ConnectionOptions,
                Reason::RequestCookie,
                Reason::RequestDirective,
                Reason::BypassIf,
                Reason::UnknownHost,
                Reason::KeyDeclined,
            ],
        }],
        further: "yes",
        forwards: &[],
    },
    Step {
        question: "Is there a stored response for its key that nothing has invalidated?",
        exits: &[
            Exit { when: "yes, fresh", what: "it answers", outcome: Outcome::Hit, forwards: &[], reasons: &[] },
            Exit {
                when: "not known: the store is away, and a near copy may answer",
                what: "the copy",
                outcome: Outcome::Hit,
                forwards: &[],
                reasons: &[Reason::StoreOutage],
            },
            Exit {
                when: "yes, stale, within stale_while_revalidate",
                what: "it answers, and is refreshed",
                outcome: Outcome::Stale,
                forwards: &[],
                reasons: &[],
            },
            Exit {
                when: "no, and a trusted client sent only-if-cached",
                what: "504",
                outcome: Outcome::Unsatisfied,
                forwards: &[],
                reasons: &[Reason::OnlyIfCached],
            },
        ],
        further: "no, or not one that may be used",
        forwards: &[Forward::UriMiss, Forward::VaryMiss, Forward::Request, Forward::Stale],
    },
    Step {
        question: "Does another request fetch it already?",
        exits: &[
            Exit {
                when: "yes",
                what: "wait for it, and answer with what it stored",
                outcome: Outcome::Collapsed,
                forwards: &[],
                reasons: &[],
            },
            Exit {
                when: "too long, or too many wait",
                what: "the handler answers as well",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[Reason::WaitLimit],
            },
        ],
        further: "no: run the handler",
        forwards: &[],
    },
    Step {
        question: "What does the handler do?",
        exits: &[
            Exit {
                when: "fails or is slow, and a stale response may be served",
                what: "that one",
                outcome: Outcome::Stale,
                forwards: &[],
                reasons: &[Reason::StaleOnError, Reason::StaleWhileSlow],
            },
            Exit { when: "returns an error, or panics", what: "the error", outcome: Outcome::Error, forwards: &[], reasons: &[] },
            Exit {
                when: "the client leaves first",
                what: "the run continues within a limit",
                outcome: Outcome::Abandoned,
                forwards: &[],
                reasons: &[],
            },
            Exit {
                when: "confirms the stored response with a 304",
                what: "that one, fresh again",
                outcome: Outcome::Revalidated,
                forwards: &[],
                reasons: &[],
            },
        ],
        further: "answers",
        forwards: &[],
    },
    Step {
        question: "May its response be stored?",
        exits: &[
            Exit {
                when: "not this answer",
                what: "the handler's response, unchanged",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[
                    Reason::InvalidationFailed,
                    Reason::Head,
                    Reason::ReadOnly,
                    Reason::InnerLayer,
                    Reason::Status,
                    Reason::NotModified,
                ],
            },
            Exit {
                when: "it is that of a POST that was a write",
                what: "the same, after its URI is invalidated",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[Reason::Write],
            },
            Exit {
                when: "it is private",
                what: "the same",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[
                    Reason::NoStore,
                    Reason::Private,
                    Reason::SetCookie,
                    Reason::Credential,
                    Reason::Authorization,
                    Reason::RequestNoStore,
                ],
            },
            Exit {
                when: "it cannot be right twice",
                what: "the same",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[
                    Reason::VaryStar,
                    Reason::EventStream,
                    Reason::Trailers,
                    Reason::Dictionary,
                    Reason::Nonce,
                    Reason::StaleValue,
                    Reason::OtherStore,
                ],
            },
            Exit {
                when: "it has no lifetime",
                what: "the same",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[Reason::NoCache, Reason::NoFreshness, Reason::ZeroTtl, Reason::Stale],
            },
            Exit {
                when: "a setting refuses it",
                what: "the same",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[Reason::TooLarge, Reason::StoreIf, Reason::VariantLimit],
            },
            Exit {
                when: "a tag is wrong",
                what: "the same",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[Reason::TooManyTags, Reason::InvalidTag, Reason::MissingCapture, Reason::AmbiguousCapture],
            },
            Exit {
                when: "its body does not end well",
                what: "the same",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[Reason::LengthMismatch, Reason::Incomplete, Reason::BufferLimit],
            },
            Exit {
                when: "the store does not take it",
                what: "the same",
                outcome: Outcome::Uncached,
                forwards: &[],
                reasons: &[
                    Reason::Invalidated,
                    Reason::PendingWrite,
                    Reason::StoreTimeout,
                    Reason::StoreError,
                    Reason::StoreSuspended,
                ],
            },
        ],
        further: "yes",
        forwards: &[],
    },
];

/// The last answer.
const STORED: (&str, Outcome) = ("it answers, and is stored for the next request", Outcome::Miss);

const WIDTH: usize = 112;

fn exits() -> impl Iterator<Item = &'static Exit> {
    STEPS.iter().flat_map(|step| step.exits)
}

fn fwd(forwards: &[Forward]) -> String {
    match forwards {
        [] => String::new(),
        _ => format!("fwd={}", forwards.iter().map(|forward| forward.as_str()).collect::<Vec<_>>().join("|")),
    }
}

/// Words after an indent, in as many lines as they need.
fn wrapped(indent: &str, words: impl Iterator<Item = &'static str>) -> String {
    let mut lines = vec![String::new()];
    for word in words {
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            *line = format!("{indent}{word}");
        } else if line.chars().count() + 3 + word.len() <= WIDTH {
            *line += &format!(" · {word}");
        } else {
            *line += " ·";
            lines.push(format!("{indent}{word}"));
        }
    }
    lines.into_iter().filter(|line| !line.is_empty()).map(|line| line + "\n").collect()
}

/// A line with a name at its right end.
fn ended(line: &str, end: &str) -> String {
    let dots = (WIDTH + 2).saturating_sub(line.chars().count() + end.chars().count() + 2).max(3);
    format!("{line} {} {end}\n", ".".repeat(dots))
}

fn picture() -> String {
    let mut picture = "  a request\n     │\n".to_owned();
    for (number, step) in (1..).zip(&STEPS) {
        picture += &format!("     ▼\n  {number}. {}\n", step.question);
        for exit in step.exits {
            let outcome = [fwd(exit.forwards), exit.outcome.as_str().to_owned()].join("  ");
            picture += &ended(&format!("     ├─ {} ──▶ {}", exit.when, exit.what), outcome.trim_start());
            picture += &wrapped("     │      ", exit.reasons.iter().map(|reason| reason.as_str()));
        }
        let further = format!("     │  {}", step.further);
        picture += &if step.forwards.is_empty() { further + "\n" } else { ended(&further, &fwd(step.forwards)) };
    }
    picture + "     ▼\n" + &ended(&format!("  {}", STORED.0), STORED.1.as_str())
}

#[test]
fn picture_is_that_of_the_code() {
    const BEGIN: &str = "<!-- made by tests/kits/guide/decision.rs -->\n";
    const END: &str = "<!-- end -->";
    let page = read("decision");
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    keep(&path_of("decision"), &format!("{before}{BEGIN}\n```text\n{}```\n\n{END}{after}", picture()));
}

#[test]
fn picture_has_every_reason_once() {
    let mut places: BTreeMap<&str, usize> = Reason::ALL.iter().map(|reason| (reason.as_str(), 0)).collect();
    for reason in exits().flat_map(|exit| exit.reasons) {
        *places.get_mut(reason.as_str()).unwrap() += 1;
    }
    places.retain(|_, count| *count != 1);
    assert!(places.is_empty(), "how often the picture has these reasons: {places:?}");
}

#[test]
fn picture_has_every_outcome_and_forward() {
    let outcomes: Vec<_> = exits().map(|exit| exit.outcome).chain([STORED.1]).collect();
    let forwards: Vec<_> = STEPS.iter().map(|step| step.forwards).chain(exits().map(|exit| exit.forwards)).flatten().collect();
    assert!(Outcome::ALL.iter().all(|outcome| outcomes.contains(outcome)));
    assert!(Forward::ALL.iter().all(|forward| forwards.contains(&forward)));
}
