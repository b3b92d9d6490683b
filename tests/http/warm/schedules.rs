//! Schedules over tokio's paused clock.

use std::time::Duration;

use axum::{Router, routing};
use http::StatusCode;
use larder::{Cache, ScheduleGuard, Warm};
use tokio::time::{advance, sleep};

use crate::support::{Gate, MINUTE, Runs, cache, get, minute, numbered, page};

/// A little more than a period with its jitter.
const PERIOD_AND_MORE: Duration = Duration::from_secs(67);

fn report(cache: &Cache, app: &Router) -> impl Fn() -> Warm + Send + use<> {
    let (cache, app) = (cache.clone(), app.clone());
    move || cache.warm(app.clone()).host("example.com").paths(["/page"])
}

fn every_minute(cache: &Cache, app: &Router) -> ScheduleGuard {
    cache.every(MINUTE).start(report(cache, app))
}

#[tokio::test(start_paused = true)]
async fn a_schedule_runs_once_a_period_and_replaces_the_response() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = page(minute(&cache), numbered(&runs));
    let guard = every_minute(&cache, &app);
    assert!(guard.runs() == 0 && guard.latest_report().is_none());
    sleep(PERIOD_AND_MORE).await;
    let first = runs.count();
    assert!((1..=2).contains(&first), "{first} runs");
    sleep(10 * MINUTE).await;
    // Its jitter may bring one run more or less into the interval.
    assert!((first + 9..=first + 11).contains(&runs.count()), "{} runs", runs.count());
    assert_eq!((guard.runs() as usize, guard.latest_report().unwrap().stored()), (runs.count(), 1));
    let answer = get(&app, "/page").await;
    assert!(answer.is_hit() && answer.text() == format!("run {}", runs.count()));
}

#[tokio::test(start_paused = true)]
async fn a_schedule_keeps_its_period_for_years() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = page(minute(&cache), numbered(&runs));
    let _guard = cache.every(DAY).start(report(&cache, &app));
    sleep(400 * DAY).await;
    assert!((399..=400).contains(&runs.count()), "{} runs", runs.count());
    // While a run lasts, too.
    let gate = Gate::closed();
    let at_gate = gate.clone();
    let waiting = page(minute(&cache), async move || {
        at_gate.pass().await;
        "late"
    });
    let guard = cache.every(DAY).name("late").start(report(&cache, &waiting));
    sleep(20 * DAY).await;
    gate.open(100);
    sleep(20 * DAY).await;
    assert!((19..=21).contains(&guard.runs()), "{} runs", guard.runs());
}

#[tokio::test(start_paused = true)]
async fn two_schedules_with_one_name_share_their_turns() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = page(minute(&cache), numbered(&runs));
    let guards = [every_minute(&cache, &app), every_minute(&cache, &app)];
    sleep(10 * MINUTE + Duration::from_secs(7)).await;
    assert!((9..=11).contains(&runs.count()), "{} runs", runs.count());
    assert_eq!(guards.iter().map(ScheduleGuard::runs).sum::<u64>() as usize, runs.count());
    // The other one goes on alone.
    let before = runs.count();
    let [one, other] = guards;
    drop(one);
    sleep(10 * MINUTE).await;
    assert!((before + 9..=before + 11).contains(&runs.count()), "{} runs", runs.count());
    drop(other);
    let named = |name: &str| cache.every(MINUTE).name(name).start(report(&cache, &app));
    let (before, _guards) = (runs.count(), [named("a"), named("b")]);
    sleep(10 * MINUTE + Duration::from_secs(7)).await;
    assert!(runs.count() >= before + 18, "other names have turns of their own");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_ends_with_its_guard_and_with_draining() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = page(minute(&cache), numbered(&runs));
    drop(every_minute(&cache, &app));
    sleep(3 * MINUTE).await;
    assert_eq!(runs.count(), 0);
    let guard = every_minute(&cache, &app);
    sleep(3 * MINUTE).await;
    let before = runs.count();
    assert!(before >= 2);
    assert!(!guard.has_ended());
    cache.drain(MINUTE).await;
    let late = every_minute(&cache, &app);
    sleep(3 * MINUTE).await;
    assert_eq!((runs.count(), guard.has_ended(), late.has_ended()), (before, true, true));
}

#[tokio::test(start_paused = true)]
async fn runs_of_a_schedule_never_overlap() {
    let (cache, _) = cache();
    let door = Gate::closed();
    let waiting = door.clone();
    let handler = move || async move { waiting.pass().await };
    let app = page(minute(&cache), handler);
    let guards = [every_minute(&cache, &app), every_minute(&cache, &app)];
    door.arrival().await;
    // The run lasts for five periods.
    for _ in 0..5 {
        sleep(MINUTE).await;
        assert!(tokio::time::timeout(Duration::ZERO, door.arrival()).await.is_err(), "a second run has begun");
    }
    door.open(1);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(guards.iter().map(ScheduleGuard::runs).sum::<u64>(), 1);
    door.arrival().await;
}

#[tokio::test(start_paused = true)]
async fn the_old_response_stays_if_the_handler_fails() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move || {
        let counted = counted.clone();
        async move { if counted.begin() == 1 { Ok("good") } else { Err(StatusCode::BAD_GATEWAY) } }
    };
    let app = page(minute(&cache), handler);
    get(&app, "/page").await;
    let guard = every_minute(&cache, &app);
    sleep(PERIOD_AND_MORE).await;
    assert!(runs.count() >= 2);
    assert_eq!(guard.latest_report().unwrap().failed(), 1);
    let answer = get(&app, "/page").await;
    assert!(answer.is_hit() && answer.text() == "good");
}

#[cfg(feature = "cron")]
#[tokio::test(start_paused = true)]
async fn a_cron_pattern_is_in_utc() {
    let (cache, clock) = cache();
    // 2024-02-29 02:59:00
    clock.set(std::time::UNIX_EPOCH + Duration::from_secs(1_709_175_540));
    let runs = Runs::default();
    let app = page(minute(&cache), numbered(&runs));
    let guard = cache.cron("0 3 * * *").unwrap().start(report(&cache, &app));
    let just_before = Duration::from_millis(59_990);
    sleep(just_before).await;
    assert_eq!(runs.count(), 0);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((runs.count(), guard.runs()), (1, 1));
    for (pattern, problem) in [("0 25 * * *", "not a cron pattern"), ("nonsense", "nonsense"), ("0 0 31 2 *", "no time matches")]
    {
        let error = cache.cron(pattern).unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(problem), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_without_requests_waits_for_its_turns() {
    let (cache, _) = cache();
    let router: Router = Router::new().route("/", routing::get(|| async {}));
    let warm = cache.clone();
    let guard = cache.every(MINUTE).start(move || warm.warm(router.clone()));
    advance(Duration::from_secs(1)).await;
    sleep(5 * MINUTE).await;
    assert!((4..=5).contains(&guard.runs()), "{} runs", guard.runs());
}
