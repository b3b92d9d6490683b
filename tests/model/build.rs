//! Writes slips into copies of larder's files, so that the model checks can show that they would notice them.

use std::{env, fs, path::Path};

/// What is wrong with a copy, and which text to replace in it to make it so.
struct Slip {
    name: &'static str,
    edits: &'static [(&'static str, &'static str)],
}

/// A file, and every slip in it that the models must notice.
struct Source {
    path: &'static str,
    slips: &'static [Slip],
}

const REGISTERS: &str = "../../src/backend/remote/registers.rs";

const WRITE_MARKS: &str = "../../src/backend/remote/write_marks.rs";

const SOURCES: [Source; 6] = [
    Source { path: "../../src/backend/memory/tag_table.rs", slips: &TAG_TABLE_SLIPS },
    Source { path: "../../src/cache/flights.rs", slips: &COLLAPSE_SLIPS },
    Source { path: REGISTERS, slips: &STEPWISE_SLIPS },
    Source { path: WRITE_MARKS, slips: &WRITE_MARK_SLIPS },
    Source { path: "../../src/backend/tiered/lease.rs", slips: &LEASE_SLIPS },
    Source { path: "../../src/backend/redis/seen.rs", slips: &SEEN_SLIPS },
];

const TAG_TABLE_SLIPS: [Slip; 10] = [
    Slip {
        name: "published_before_recorded",
        edits: &[(
            "self.record(&mut by_age, tags, strength, epoch);",
            "self.publish(epoch); self.record(&mut by_age, tags, strength, epoch);",
        )],
    },
    Slip {
        name: "dropped_before_the_floor_is_raised",
        edits: &[("raise(floor, latest);", "write(self.shard(tag)).remove(&tag); raise(floor, latest);")],
    },
    Slip {
        name: "dropped_without_its_expiries",
        edits: &[(
            ".map_or(0, TagRecord::latest);",
            ".map_or(0, |record| record.to_bytes().first_chunk().map_or(0, |hard| u64::from_le_bytes(*hard)));",
        )],
    },
    Slip {
        name: "floor_read_before_the_tags",
        edits: &[
            ("let floor = self.floor.load(Ordering::Acquire);", ""),
            ("let by_tags = ", "let floor = self.floor.load(Ordering::Acquire);\n        let by_tags = "),
        ],
    },
    Slip {
        name: "published_without_release",
        edits: &[("self.epoch.store(epoch, Ordering::Release);", "self.epoch.store(epoch, Ordering::Relaxed);")],
    },
    Slip {
        name: "epoch_read_without_acquire",
        edits: &[("self.epoch.load(Ordering::Acquire)", "self.epoch.load(Ordering::Relaxed)")],
    },
    Slip {
        name: "epoch_taken_outside_the_lock",
        edits: &[(
            "let mut by_age = lock(&self.by_age);\n        let epoch = self.next_epoch();",
            "let epoch = self.next_epoch();\n        let mut by_age = lock(&self.by_age);",
        )],
    },
    Slip {
        name: "counts_read_before_recorded",
        edits: &[
            (
                "let mut shard = write(self.shard(tag));",
                "let counted = self.counts.has(tag);\n            let mut shard = write(self.shard(tag));",
            ),
            ("let list = if self.counts.has(tag) {", "let list = if counted {"),
        ],
    },
    Slip { name: "records_of_fetched_not_kept", edits: &[("self.keep_records(tags.clone());\n", "\n")] },
    Slip {
        name: "fetch_floor_not_raised",
        edits: &[("(&mut by_age.of_fetched, &self.fetch_floor)", "(&mut by_age.of_fetched, &AtomicU64::new(0))")],
    },
];

const COLLAPSE_SLIPS: [Slip; 19] = [
    Slip {
        name: "checked_and_started_apart",
        edits: &[(
            "None => Joined::Leader(self.begin(&mut shard, key, epoch)),",
            "None => {
                drop(shard);
                let mut shard = lock(self.shard(key));
                Joined::Leader(self.begin(&mut shard, key, epoch))
            }",
        )],
    },
    Slip { name: "started_beside_another", edits: &[("(!shard.contains_key(key))", "(!key.is_empty())")] },
    Slip {
        name: "superseded_by_each",
        edits: &[("Some(flight) if flight.epoch >= epoch =>", "Some(flight) if flight.epoch > epoch =>")],
    },
    Slip {
        name: "overtaken_by_each",
        edits: &[(
            "let flight = shard.get(key)?;
        if !Arc::ptr_eq(flight, &follower.flight) && flight.epoch >= epoch {",
            "let flight = shard.get(key).unwrap_or(&follower.flight);
        if !Arc::ptr_eq(flight, &follower.flight) && flight.epoch > epoch {",
        )],
    },
    Slip {
        name: "joined_at_any_epoch",
        edits: &[(
            "Some(flight) if flight.epoch >= accept =>",
            "Some(flight) if flight.epoch.incarnation() == accept.incarnation() =>",
        )],
    },
    Slip {
        name: "woken_before_the_outcome",
        edits: &[
            ("waiters.outcome = Some(self.outcome);", ""),
            (
                "wakers.into_values().for_each(Waker::wake);",
                "wakers.into_values().for_each(Waker::wake);
                lock(&self.flight.waiters).outcome = Some(self.outcome);",
            ),
        ],
    },
    Slip {
        name: "outcome_after_the_wakers_were_taken",
        edits: &[
            ("waiters.outcome = Some(self.outcome);", ""),
            (
                "let wakers = mem::take(&mut waiters.wakers);",
                "let wakers = mem::take(&mut waiters.wakers);
                drop(waiters);
                let mut waiters = lock(&self.flight.waiters);
                waiters.outcome = Some(self.outcome);",
            ),
        ],
    },
    Slip { name: "finished_without_leaving_the_map", edits: &[("shard.remove(&self.key);", "let _ = &mut shard;")] },
    Slip {
        name: "removed_whatever_flight_is_there",
        edits: &[(".is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))", ".is_some()")],
    },
    Slip {
        name: "registered_without_checking_again",
        edits: &[(
            "waiters.wakers.insert(self.id, cx.waker().clone());",
            "drop(waiters);
                let mut waiters = lock(&self.flight.waiters);
                waiters.wakers.insert(self.id, cx.waker().clone());",
        )],
    },
    Slip {
        name: "registered_once_only",
        edits: &[(
            "waiters.wakers.insert(self.id, cx.waker().clone());",
            "waiters.wakers.entry(self.id).or_insert_with(|| cx.waker().clone());",
        )],
    },
    Slip {
        name: "cancelled_with_the_wakers_of_others",
        edits: &[("let waker = waiters.wakers.remove(&self.id);", "let waker = mem::take(&mut waiters.wakers);")],
    },
    Slip { name: "counted_forever", edits: &[("waiters.count -= 1;", "")] },
    Slip { name: "counted_in_total_forever", edits: &[("self.flights.waiting.fetch_sub(1, Ordering::Relaxed);", "")] },
    Slip {
        name: "counted_though_refused",
        edits: &[(
            "if waiters.count >= self.limits.per_key {
            self.waiting.fetch_sub(1, Ordering::Relaxed);",
            "if waiters.count >= self.limits.per_key {",
        )],
    },
    Slip {
        name: "counted_too_late",
        edits: &[
            SHARD_BY_FIRST_BYTE,
            (
                "if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limits.total {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Joined::Full;
        }",
                "if self.waiting.load(Ordering::Relaxed) >= self.limits.total {
            return Joined::Full;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);",
            ),
        ],
    },
    Slip {
        name: "one_too_many_for_a_key",
        edits: &[("waiters.count >= self.limits.per_key", "waiters.count > self.limits.per_key")],
    },
    Slip { name: "one_too_many_in_total", edits: &[(">= self.limits.total", "> self.limits.total")] },
    // No slip: the same code, but the models know which keys share a lock.
    Slip { name: "sharded_by_first_byte", edits: &[SHARD_BY_FIRST_BYTE] },
];

const SHARD_BY_FIRST_BYTE: (&str, &str) =
    ("usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0)", "usize::from(key[0])");

const STEPWISE_SLIPS: [Slip; 18] = [
    Slip {
        name: "created_with_born",
        edits: &[
            (
                "ensure_records(registers, tags, reading).await?.validity(born)",
                "ensure_records(registers, tags, ClockAndRecords { clock: born, ..reading }).await?.validity(born)",
            ),
            READ_BEFORE_THE_CLAIM,
        ],
    },
    Slip { name: "created_with_an_epoch_read_before", edits: &[READ_BEFORE_THE_CLAIM] },
    Slip {
        name: "missing_is_alive",
        edits: &[(
            "self.known(seen.as_ref()?)",
            "if seen.is_none() { Some(TagRecord::default()) } else { self.known(seen.as_ref()?) }",
        )],
    },
    Slip {
        name: "pending_is_alive",
        edits: &[(
            "self.known(seen.as_ref()?)",
            "match seen.as_ref()? {
                seen if seen.is_pending() => Some(TagRecord::default()),
                seen => self.known(seen),
            }",
        )],
    },
    Slip {
        name: "created_by_an_invalidation",
        edits: &[(
            "let seen = seen?;",
            "let Some(seen) = seen else { return Some(CompareAndSwap { tag, seen: None, record: Record::settled(at) }) };",
        )],
    },
    Slip { name: "pending_left_at_first_sight", edits: &[("if again && seen", "let _ = again;\nif seen")] },
    Slip {
        name: "pending_left_as_it_is",
        edits: &[(
            "_ => Record::Pending { nonce },",
            "Some(Record::Pending { .. }) => return None,\n_ => Record::Pending { nonce },",
        )],
    },
    Slip {
        name: "pending_settled_by_an_invalidation",
        edits: &[(
            "_ => Record::Pending { nonce },",
            "Some(Record::Pending { .. }) => Record::settled(at),\n_ => Record::Pending { nonce },",
        )],
    },
    Slip { name: "advanced_once", edits: &[("registers.publish(at, invalidation).await?;", "")] },
    Slip {
        name: "advanced_before_the_records",
        edits: &[
            ("registers.publish(at, invalidation).await?;", ""),
            (
                "raise(registers, tags, at, force).await?;",
                "registers.publish(at, invalidation).await?;\n    raise(registers, tags, at, force).await?;",
            ),
        ],
    },
    // Either rule would do: a record of another incarnation says nothing, and an invalidation makes it pending.
    Slip {
        name: "recorded_in_another_incarnation",
        edits: &[
            ("incarnation == self.clock.incarnation() =>", "incarnation > 0 =>"),
            ("_ => Record::Pending { nonce },", "Some(Record::Settled { .. }) => return None,\n_ => Record::Pending { nonce },"),
        ],
    },
    Slip {
        name: "cleared_without_a_new_incarnation",
        edits: &[("let at = registers.renew().await?;", "let at = registers.advance().await?;")],
    },
    Slip { name: "created_too_late_for_its_fetch", edits: &[("invalidated_at(at.get())", "invalidated_at(at.get() + 1)")] },
    Slip {
        name: "settled_whatever_is_there",
        edits: &[(
            "let claimed = unsettled.iter().zip(claimed)",
            "let claimed = if claimed.len() == tags.len() { registers.read(tags).await? } else { claimed };
            let claimed = unsettled.iter().zip(claimed)",
        )],
    },
    Slip {
        name: "raised_whatever_is_there",
        edits: &[(
            "let written = registers.write(&changes).await?;",
            "let mut changes = changes;
            for change in &mut changes {
                change.seen = registers.read(std::slice::from_ref(change.tag)).await?.remove(0);
            }
            let written = registers.write(&changes).await?;",
        )],
    },
    Slip { name: "lost_and_not_raised", edits: &[(".filter(|(_, written)| written.is_none())", ".filter(|_| false)")] },
    Slip { name: "first_tag_raised_only", edits: &[("let mut tags = tags.to_vec();", "let mut tags = tags[..1].to_vec();")] },
    Slip {
        name: "first_record_judged_only",
        edits: &[("self.records.iter().map(|seen| self.known", "self.records.iter().take(1).map(|seen| self.known")],
    },
];

/// Slips in the rule by which records decide, each in a copy that a copy of the registers contains.
const TAG_RECORD_SLIPS: [Slip; 6] = [
    Slip { name: "lowered", edits: &[("self.hard = self.hard.max(epoch),", "self.hard = epoch,")] },
    Slip {
        name: "expired_once_only",
        edits: &[("expiries.add(epoch, at),", "if expiries.latest().is_none() { expiries.add(epoch, at) },")],
    },
    Slip {
        name: "counted_from_the_latest_expiry",
        edits: &[("expiries.add(epoch, at),", "{\n expiries.forget(epoch);\n expiries.add(epoch, at)\n },")],
    },
    Slip {
        name: "later_expiries_forgotten",
        edits: &[(
            "self.hard = self.hard.max(epoch),",
            "{\n expiries = Expiries::default();\n self.hard = self.hard.max(epoch)\n },",
        )],
    },
    Slip { name: "expired_is_alive", edits: &[("expiries.since(born)", "expiries.since(born.max(u64::MAX))")] },
    Slip {
        name: "born_of_another_incarnation",
        edits: &[("born.incarnation() != now.incarnation()", "now.incarnation() == u64::MAX")],
    },
];

const READ_BEFORE_THE_CLAIM: (&str, &str) = ("let clock = registers.clock().await?;", "let clock = reading.clock;");

const WRITE_MARK_SLIPS: [Slip; 6] = [
    Slip {
        name: "stored_while_held",
        edits: &[("Some(Marked::Held) => return Ok(Err(PutOutcome::PendingWrite)),", "Some(Marked::Held) => {}")],
    },
    Slip { name: "lapsed_and_forgotten", edits: &[("registers::invalidate(registers, &invalidation).await?;", "")] },
    Slip {
        name: "forgotten_before_the_invalidation",
        edits: &[
            ("registers::invalidate(registers, &invalidation).await?;", ""),
            (
                "change(registers, invalidation.tags(), |marks| marks.forget_lapsed(now)).await",
                "change(registers, invalidation.tags(), |marks| marks.forget_lapsed(now)).await?;
    registers::invalidate(registers, &invalidation).await.map(drop)",
            ),
        ],
    },
    Slip { name: "records_read_before_the_marks", edits: &[("reading = registers.read_with_clock(tags).await?,", "{}")] },
    Slip { name: "released_for_all", edits: &[("|marks| marks.release(writer)", "|marks| _ = (writer, std::mem::take(marks))")] },
    Slip {
        name: "marked_whatever_is_there",
        edits: &[("|marks| marks.hold(writer, until)", "|marks| { *marks = WriteMarks::default(); marks.hold(writer, until) }")],
    },
];

const LEASE_SLIPS: [Slip; 5] = [
    Slip {
        name: "renewed_by_part",
        edits: &[("PollResult::Part => {}", "PollResult::Part => self.record(sent_at, PollResult::All),")],
    },
    Slip {
        name: "renewed_by_what_came_after_a_gap",
        edits: &[("PollResult::Gap => self.end()", "PollResult::Gap => self.record(sent_at, PollResult::All)")],
    },
    Slip {
        name: "holder_does_not_look_at_his_clock",
        edits: &[("now < self.valid_until", "now.min(Timestamp::from_millis(0)) < self.valid_until")],
    },
    Slip {
        name: "grace_counted_from_the_end_of_the_lease",
        edits: &[("self.valid_until - self.span", "self.valid_until - self.span.min(Duration::ZERO)")],
    },
    Slip {
        name: "grace_without_a_clock",
        edits: &[("now < agreed_at + grace", "now.min(Timestamp::from_millis(0)) < agreed_at + grace")],
    },
];

const SEEN_SLIPS: [Slip; 3] = [
    Slip {
        name: "answers_not_compared",
        edits: &[("reading.term == self.term && (self.number..END).contains(&reading.epoch.get())", "reading.term == self.term")],
    },
    Slip { name: "scripts_not_told", edits: &[("bytes[8..16].copy_from_slice(&self.number.to_be_bytes());", "")] },
    Slip { name: "config_epoch_not_told", edits: &[("&rule.to_be_bytes()", "&rule.min(0).to_be_bytes()")] },
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for Source { path, slips } in SOURCES {
        let right = read(path);
        slips.iter().for_each(|slip| write(slip.name, slip.apply(path, &right)));
    }
    let (path, record, registers) = ("../../src/backend/tag_record.rs", read("../../src/backend/tag_record.rs"), read(REGISTERS));
    TAG_RECORD_SLIPS.iter().for_each(|slip| write(slip.name, with_module(&registers, &slip.apply(path, &record))));
}

fn read(path: &str) -> String {
    println!("cargo::rerun-if-changed={path}");
    fs::read_to_string(path).expect("the model package is in tests/model of larder")
}

fn write(name: &str, code: String) {
    let out = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join(format!("{name}.rs")), code).expect("OUT_DIR is writable");
}

/// Returns the registers with a copy of the rule that they import.
fn with_module(registers: &str, record: &str) -> String {
    const IMPORT: &str = "use crate::backend::tag_record::{self, TagRecord};";
    let registers = included(registers);
    assert_eq!(registers.matches(IMPORT).count(), 1, "{REGISTERS} changed: adapt the import in tests/model/build.rs");
    registers.replace(IMPORT, &format!("#[allow(unreachable_pub)]\nmod tag_record {{\n{record}\n}}\nuse tag_record::TagRecord;"))
}

/// Returns the code as `include!` takes it: without tests and without inner documentation.
fn included(source: &str) -> String {
    source.split("#[cfg(test)]").next().unwrap_or_default().replace("\n//!", "\n//").replacen("//!", "//", 1)
}

impl Slip {
    fn apply(&self, path: &str, source: &str) -> String {
        let mut text = included(source);
        for (right, wrong) in self.edits {
            let found = text.matches(right).count();
            assert_eq!(found, 1, "{path} changed: adapt the slip `{}` in tests/model/build.rs to `{right}`", self.name);
            text = text.replacen(right, wrong, 1);
        }
        text
    }
}
