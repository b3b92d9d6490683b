//! The advice as JSON.

use serde_json::{Value, json};

use super::advice::{Advice, RouteAdvice, SimulatedCache};

impl Advice {
    /// Returns the advice as JSON, with the names of its accessors.
    pub fn to_json(&self) -> String {
        self.json().to_string()
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "handler_seconds": self.handler_time.as_secs_f64(),
            "not_measured": { "requests": self.beyond, "handler_seconds": self.beyond_time.as_secs_f64() },
            "routes": self.routes.iter().map(route).collect::<Vec<_>>(),
        })
    }
}

fn route(route: &RouteAdvice) -> Value {
    let differs_by = route.differs_by.iter().map(|(selector, share)| json!({ "selector": selector.to_string(), "share": share }));
    let changes = route.changes.iter().map(|change| {
        json!({
            "method": change.write.method(),
            "route": change.write.route(),
            "share": change.share,
            "tag": change.tag,
            "written_tag": change.written_tag,
        })
    });
    let blocked = route.blocked.iter().map(|blocked| {
        json!({
            "reason": blocked.reason.as_str(),
            "share": blocked.share,
            "explanation": blocked.reason.explanation(),
            "remedy": blocked.remedy,
        })
    });
    json!({
        "route": route.route,
        "verdict": route.verdict.as_str(),
        "summary": route.summary(),
        "code": route.code,
        "requests": route.requests,
        "handler_seconds": route.handler_time.as_secs_f64(),
        "share": route.share,
        "saving_seconds": route.saving().as_secs_f64(),
        "expected": route.expected.map(simulated),
        "simulations": route.simulations.iter().copied().map(simulated).collect::<Vec<_>>(),
        "differs_by": differs_by.collect::<Vec<_>>(),
        "needless_query": route.needless_query,
        "changes": changes.collect::<Vec<_>>(),
        "tags": route.tags,
        "blocked": blocked.collect::<Vec<_>>(),
        "unseen": route.unseen,
    })
}

fn simulated(cache: SimulatedCache) -> Value {
    json!({
        "lifetime_seconds": cache.lifetime.as_secs(),
        "hit_ratio": cache.hit_ratio,
        "wrong_ratio": cache.wrong_ratio,
        "covered": cache.is_covered,
    })
}
