//! Writes slips into copies of larder's files, so that the model checks can show that they would notice them.

use std::{env, fs, path::Path};

/// What is wrong with a copy, and which text to replace in it to make it so.
struct Slip {
    name: &'static str,
    edits: &'static [(&'static str, &'static str)],
}

const TAG_TABLE: &str = "../../src/backend/tag_table.rs";

const TAG_TABLE_SLIPS: [Slip; 7] = [
    Slip {
        name: "published_before_recorded",
        edits: &[(
            "self.record(&mut records, tags, force, epoch);",
            "self.publish(epoch); self.record(&mut records, tags, force, epoch);",
        )],
    },
    Slip {
        name: "dropped_before_the_floor_is_raised",
        edits: &[(
            "raise(&self.floor.hard, mark.hard);",
            "write(self.shard(tag)).remove(&tag); raise(&self.floor.hard, mark.hard);",
        )],
    },
    Slip { name: "dropped_without_the_soft_floor", edits: &[("raise(&self.floor.soft, mark.soft);", "")] },
    Slip {
        name: "floor_read_before_the_tags",
        edits: &[
            (
                "let mut latest = Mark::default();",
                "let mut latest = Mark {
                    hard: self.floor.hard.load(Ordering::Acquire),
                    soft: self.floor.soft.load(Ordering::Acquire),
                };",
            ),
            ("latest.hard.max(self.floor.hard.load(Ordering::Acquire))", "latest.hard"),
            ("latest.soft.max(self.floor.soft.load(Ordering::Acquire))", "latest.soft"),
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
            "let mut records = lock(&self.records);\n        let epoch = self.next_epoch();",
            "let epoch = self.next_epoch();\n        let mut records = lock(&self.records);",
        )],
    },
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={TAG_TABLE}");
    let source = fs::read_to_string(TAG_TABLE).expect("the model package stands in tests/model of larder");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    for slip in &TAG_TABLE_SLIPS {
        fs::write(Path::new(&out).join(format!("{}.rs", slip.name)), slip.apply(&source)).expect("OUT_DIR is writable");
    }
}

impl Slip {
    fn apply(&self, source: &str) -> String {
        // `include!` takes no inner documentation.
        let mut text = source.replace("\n//!", "\n//").replacen("//!", "//", 1);
        for (right, wrong) in self.edits {
            let found = text.matches(right).count();
            assert_eq!(found, 1, "{TAG_TABLE} changed: adapt the slip `{}` in tests/model/build.rs to `{right}`", self.name);
            text = text.replacen(right, wrong, 1);
        }
        text
    }
}
