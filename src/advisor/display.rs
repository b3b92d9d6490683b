//! The advice for a terminal.

use std::{fmt, time::Duration};

use super::advice::{Advice, RouteAdvice, Verdict};

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests, {:.1} s of handler time", self.requests, self.handler_time.as_secs_f64())?;
        let longest = self.routes.iter().map(|route| route.route.chars().count()).max().unwrap_or(0).min(40);
        let mut number = 0;
        for route in &self.routes {
            let label = match route.verdict {
                Verdict::Store => {
                    number += 1;
                    format!("{number}.")
                }
                _ => "-".to_owned(),
            };
            writeln!(
                f,
                "{label:<3} GET {:<longest$}  {:>3.0} % of handler time   {}",
                route.route,
                100.0 * route.share,
                route.summary()
            )?;
            for line in route.details() {
                writeln!(f, "      {line}")?;
            }
        }
        if self.beyond > 0 {
            let seconds = self.beyond_time.as_secs_f64();
            writeln!(f, "not measured: {} requests for routes beyond the first 64, {seconds:.1} s", self.beyond)?;
        }
        Ok(())
    }
}

impl RouteAdvice {
    /// Returns the advice in one line, without the code.
    pub fn summary(&self) -> String {
        let best = self.simulations.iter().rfind(|cache| cache.is_covered).or(self.simulations.first());
        let repeatable = best
            .map_or_else(String::new, |best| format!("{} repeatable at {}", percent(best.hit_ratio), lifetime(best.lifetime)));
        match self.verdict {
            Verdict::Store => match &self.expected {
                Some(expected) => {
                    let (hits, wrong) = (percent(expected.hit_ratio), percent(expected.wrong_ratio));
                    format!("{hits} repeatable at {}, {wrong} wrong", lifetime(expected.lifetime))
                }
                None => repeatable,
            },
            Verdict::PerUser => format!("{}: `per_principal`, or leave it", self.differences()),
            Verdict::Rare => repeatable,
            Verdict::Volatile => {
                let wrong = best.map_or(0.0, |best| best.wrong_ratio);
                format!("{repeatable}, {} wrong: it changes without a write that was seen", percent(wrong))
            }
            Verdict::Forbidden => match self.blocked.first() {
                Some(blocked) => format!("`{}`: {}", blocked.reason.as_str(), blocked.reason.explanation()),
                None => "its responses forbid storing".to_owned(),
            },
            Verdict::TooFew => format!("too few requests ({})", self.requests),
        }
    }

    fn differences(&self) -> String {
        let names: Vec<String> = self.differs_by.iter().map(|(selector, _)| selector.to_string()).collect();
        format!("differs by {}", names.join(" and "))
    }

    /// Returns further lines: the code, where to invalidate, what blocks storing, and what was not seen.
    pub fn details(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.code.iter().cloned().collect();
        if self.verdict == Verdict::Store && !self.differs_by.is_empty() {
            lines.push(self.differences());
        }
        for change in &self.changes {
            let (write, share) = (&change.write, percent(change.share));
            lines.push(format!(
                "changes after {write} ({share}): tag it `{}`, and invalidate `{}` there",
                change.tag, change.written_tag
            ));
        }
        if !self.needless_query.is_empty() {
            let names: Vec<String> = self.needless_query.iter().map(|name| format!("`{name}`")).collect();
            lines.push(format!("{} of requests have {}, which changes nothing", percent(self.needless_share), names.join(", ")));
        }
        for blocked in self.blocked.iter().filter(|blocked| blocked.share >= 0.01 && self.verdict != Verdict::Forbidden) {
            let remedy = blocked.remedy.map(|remedy| format!("   {remedy}")).unwrap_or_default();
            lines.push(format!("not stored: {} ({}){remedy}", blocked.reason.as_str(), percent(blocked.share)));
        }
        lines.extend(self.unseen.iter().map(|unseen| format!("not seen: {unseen}")));
        lines
    }
}

fn percent(ratio: f64) -> String {
    let percent = 100.0 * ratio;
    if percent < 10.0 && percent.fract() > 0.049 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

fn lifetime(lifetime: Duration) -> String {
    match lifetime.as_secs() {
        seconds @ 0..=60 => format!("{seconds} s"),
        seconds @ ..3_600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
