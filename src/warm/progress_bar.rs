//! A bar on the terminal that shows how far a warm-up is.

use indicatif::{ProgressBar, ProgressStyle};

use super::builder::Warm;
use crate::cache::jobs::WarmProgress;

const BAR: &str = "{wide_bar} {pos}/{len} {msg} [{elapsed}]";
/// For streams, whose length is unknown.
const SPINNER: &str = "{spinner} {pos} {msg} [{elapsed}]";

/// The bar on the terminal.
impl Warm {
    /// Shows the progress on the terminal, on standard error, with `indicatif`; nothing if that is not a terminal.
    pub fn progress_bar(self) -> Self {
        let total = self.requests.count().map(|count| count.min(self.limit));
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = if total.is_some() { BAR } else { SPINNER };
        // A constant template is valid.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.on_progress(move |progress| show(&bar, progress))
    }
}

fn show(bar: &ProgressBar, progress: &WarmProgress) {
    let WarmProgress { done, total, stored, fresh, not_stored, failed, .. } = progress;
    bar.set_position(*done);
    bar.set_message(format!("{stored} stored, {fresh} fresh, {not_stored} not stored, {failed} failed"));
    if *total == Some(*done) {
        bar.finish();
    }
}
