//! What follows from the measurements of a route.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    advice::{Advice, Blocked, Change, RouteAdvice, SimulatedCache, Verdict},
    causes::{Cause, Findings},
    code::{AdvisedLayer, query_names},
    observations::{Observations, lock},
    route::{MOST_KEYS, Measured},
    selector::Selector,
    simulation::{LIFETIMES, SimulatedCounts},
    tag_advice::tags,
    writes::Writes,
};
use crate::{http::cache_status::Reason, policy::remedy::remedy};

/// With fewer requests, nothing is advised.
const FEWEST_REQUESTS: u64 = 30;

/// The largest share of wrong answers of a lifetime that is advised.
const TOLERATED: f64 = 0.01;

/// The smallest hit ratio that is worth a layer.
const WORTHWHILE: f64 = 0.05;

/// A reason or a part of requests below this share changes no advice.
const NOTABLE: f64 = 0.05;

impl Advice {
    pub(crate) fn of(observations: &Observations) -> Self {
        let totals = &observations.totals;
        let handler_time = Duration::from_millis(totals.handler_millis.load(Relaxed));
        let mut size = 0;
        let conclude = |(name, route): (Box<str>, Arc<Mutex<Measured>>)| {
            let measured = lock(&route);
            size += measured.size();
            Conclusion::new(&name, &measured, &observations.writes).advice(handler_time)
        };
        let mut routes: Vec<RouteAdvice> = observations.routes().into_iter().map(conclude).collect();
        routes.retain(|route| route.requests > 0);
        routes.sort_by(|one, other| {
            let rank = |route: &RouteAdvice| (route.verdict == Verdict::Store, route.saving(), route.handler_time);
            rank(other).cmp(&rank(one)).then_with(|| one.route.cmp(&other.route))
        });
        Self {
            routes,
            requests: totals.requests.load(Relaxed),
            handler_time,
            beyond: totals.beyond.load(Relaxed),
            beyond_time: Duration::from_millis(totals.beyond_millis.load(Relaxed)),
            size,
        }
    }
}

/// The measurements of a route, with what explains that its responses differ.
struct Conclusion<'m> {
    route: &'m str,
    measured: &'m Measured,
    findings: Findings,
    changes: Vec<Change>,
}

impl<'m> Conclusion<'m> {
    fn new(route: &'m str, measured: &'m Measured, writes: &Writes) -> Self {
        let findings = measured.causes.findings();
        let changes = findings.explanations.iter().filter_map(|explanation| {
            let Cause::Write { name, shared } = &explanation.cause else { return None };
            let (tag, written_tag) = tags(route, shared.as_ref());
            Some(Change { write: writes.name(*name)?, share: explanation.share, tag, written_tag })
        });
        let changes = changes.collect();
        Self { route, measured, findings, changes }
    }

    fn advice(self, all_handler_time: Duration) -> RouteAdvice {
        let measured = self.measured;
        let simulations: Vec<SimulatedCache> = self.simulated(&measured.plain, 0.0);
        let expected = self.expected();
        let verdict = self.verdict(expected);
        let mut tags: Vec<String> = self.changes.iter().map(|change| change.tag.clone()).collect();
        tags.sort();
        tags.dedup();
        let needless: Vec<&Selector> = measured.causes.selectors(self.findings.needless).collect();
        let needless_query = query_names(needless.iter().filter_map(|selector| match selector {
            Selector::Query(name) => Some(name.as_str()),
            _ => None,
        }));
        let code = (verdict == Verdict::Store).then(|| self.layer(expected, &tags, &needless_query).code());
        RouteAdvice {
            route: self.route.to_owned(),
            verdict,
            requests: measured.requests,
            handler_time: measured.handler_time,
            share: ratio(measured.handler_time.as_secs_f64(), all_handler_time.as_secs_f64()),
            simulations,
            expected,
            differs_by: self.selecting().map(|(selector, share)| (selector.clone(), share)).collect(),
            needless_query,
            needless_share: self.needless_share(),
            blocked: self.blocked(),
            unseen: self.unseen(),
            changes: self.changes,
            tags,
            code,
        }
    }

    /// The parts of requests that select responses, without those that responses name in `Vary`, and without the query, which is in the key.
    fn selecting(&self) -> impl Iterator<Item = (&Selector, f64)> {
        let explanations = self.findings.explanations.iter().filter(|explanation| explanation.bit & self.measured.varied == 0);
        explanations.filter_map(|explanation| match &explanation.cause {
            Cause::Request(Selector::Query(_)) | Cause::Write { .. } => None,
            Cause::Request(selector) => Some((selector, explanation.share)),
        })
    }

    fn simulated(&self, counts: &SimulatedCounts, explained: f64) -> Vec<SimulatedCache> {
        let observed = self.measured.last.since(self.measured.began);
        let cache = |(at, lifetime): (usize, &Duration)| {
            let (hit_ratio, wrong_ratio) = counts.ratios(at);
            let wrong_ratio = wrong_ratio * (1.0 - explained);
            SimulatedCache { lifetime: *lifetime, hit_ratio, wrong_ratio, is_covered: *lifetime <= observed }
        };
        LIFETIMES.iter().enumerate().map(cache).collect()
    }

    /// What to expect of the advised settings, at the shortest lifetime that is nearly as good as the best.
    fn expected(&self) -> Option<SimulatedCache> {
        let (advised, of) = (&self.measured.advised, &self.measured.findings);
        let is_current = (of.bits(), of.needless) == (self.findings.bits(), self.findings.needless);
        let caches = if is_current && advised.counts.requests() >= FEWEST_REQUESTS as f64 {
            self.simulated(&advised.counts, 0.0)
        } else {
            self.simulated(
                &self.measured.plain,
                self.findings.explanations.iter().map(|explanation| explanation.share).sum::<f64>().min(1.0),
            )
        };
        let usable =
            |cache: &&SimulatedCache| cache.wrong_ratio <= TOLERATED && (cache.is_covered || cache.lifetime == LIFETIMES[0]);
        let best = caches.iter().filter(usable).map(|cache| cache.hit_ratio).fold(0.0, f64::max);
        caches.iter().filter(usable).find(|cache| cache.hit_ratio >= 0.95 * best).copied()
    }

    fn verdict(&self, expected: Option<SimulatedCache>) -> Verdict {
        const FORBIDDING: [Reason; 6] =
            [Reason::NoStore, Reason::Private, Reason::VaryStar, Reason::EventStream, Reason::Nonce, Reason::Trailers];
        let forbidden: f64 = FORBIDDING.into_iter().map(|reason| self.blocked_share(reason)).sum();
        if self.measured.observed < FEWEST_REQUESTS {
            return if forbidden > 0.5 { Verdict::Forbidden } else { Verdict::TooFew };
        }
        let by_user = self.selecting().any(|(selector, _)| match selector {
            Selector::Credentials => true,
            Selector::Cookie(_) => self.presence(selector) > 0.5 && expected.is_none_or(|expected| expected.hit_ratio < 0.3),
            _ => false,
        });
        match expected {
            _ if forbidden > 0.5 => Verdict::Forbidden,
            _ if by_user => Verdict::PerUser,
            Some(expected) if expected.hit_ratio >= WORTHWHILE => Verdict::Store,
            _ if self.measured.plain.ratios(LIFETIMES.len() - 1).0 < WORTHWHILE => Verdict::Rare,
            _ => Verdict::Volatile,
        }
    }

    fn layer(&self, expected: Option<SimulatedCache>, tags: &[String], needless_query: &[String]) -> AdvisedLayer {
        let states_lifetime = share(self.measured.with_lifetime, self.measured.requests) > 0.5;
        let mut layer = AdvisedLayer {
            ttl: expected.map(|expected| expected.lifetime).filter(|_| !states_lifetime),
            tags: tags.to_vec(),
            ignore_query: needless_query.to_vec(),
            strip_set_cookie: self.blocked_share(Reason::SetCookie) + self.blocked_share(Reason::Credential) > NOTABLE,
            large_bodies: self.blocked_share(Reason::TooLarge) > NOTABLE,
            ..AdvisedLayer::default()
        };
        for (selector, _) in self.selecting() {
            layer.vary_on.extend(selector.field());
            if let Selector::Cookie(name) = selector {
                let rare = self.presence(selector) <= 0.5;
                if rare { &mut layer.bypass_on_cookies } else { &mut layer.vary_on_cookies }.push(name.clone());
            }
        }
        // One setting for cookies replaces another: the careful one wins.
        if !layer.bypass_on_cookies.is_empty() {
            layer.bypass_on_cookies.append(&mut layer.vary_on_cookies);
        }
        let has_cookies = share(self.measured.with_cookies, self.measured.requests) > 0.01;
        layer.ignore_cookies = has_cookies && layer.bypass_on_cookies.is_empty() && layer.vary_on_cookies.is_empty();
        layer
    }

    /// The share of requests that have this part.
    fn presence(&self, selector: &Selector) -> f64 {
        share(self.measured.causes.presence(self.measured.causes.bits_of(|other| other == selector)), self.measured.observed)
    }

    /// The largest share of requests that have one of the parameters that change nothing.
    fn needless_share(&self) -> f64 {
        let needless = self.measured.causes.selectors(self.findings.needless);
        needless.map(|selector| self.presence(selector)).fold(0.0, f64::max)
    }

    fn blocked_share(&self, reason: Reason) -> f64 {
        share(self.measured.blocked[reason as usize], self.measured.requests)
    }

    fn blocked(&self) -> Vec<Blocked> {
        let reasons = Reason::ALL.iter().filter(|reason| !matches!(reason, Reason::NoFreshness | Reason::InnerLayer));
        let blocked =
            reasons.map(|reason| Blocked { reason: *reason, share: self.blocked_share(*reason), remedy: remedy(*reason) });
        let mut blocked: Vec<Blocked> = blocked.filter(|blocked| blocked.share > 0.0).collect();
        blocked.sort_by(|one, other| other.share.total_cmp(&one.share));
        blocked
    }

    fn unseen(&self) -> Vec<String> {
        let measured = self.measured;
        let observed = measured.last.since(measured.began);
        let mut unseen = Vec::new();
        if measured.observed < FEWEST_REQUESTS {
            unseen.push(format!("only {} responses were observed; {FEWEST_REQUESTS} are needed", measured.observed));
        }
        if observed < LIFETIMES[LIFETIMES.len() - 1] {
            unseen.push(format!("observed for {} s: longer lifetimes are not judged", observed.as_secs()));
        }
        if measured.keys() > MOST_KEYS / 2 {
            unseen.push(format!("a sample of {} keys: more URLs were requested", measured.keys()));
        }
        let counted = [
            (measured.unfinished, "bodies did not end while they were observed: clients that left, or streams"),
            (measured.partial, "responses were 206 or 304, and could not be compared"),
            (measured.from_cache, "requests were answered by a layer of the cache, and not observed"),
            (measured.unattributed, "responses could not be compared, because too many writes came between them"),
        ];
        unseen.extend(counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
        unseen
    }
}

fn share(part: u64, all: u64) -> f64 {
    ratio(part as f64, all as f64)
}

fn ratio(part: f64, all: f64) -> f64 {
    if all > 0.0 { part / all } else { 0.0 }
}
