//! Progress bars on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::kinds::{Progress, Ref};

/// The bars of one run.
pub struct Bars {
    all: Option<MultiProgress>,
    overall: Option<ProgressBar>,
    each: Mutex<BTreeMap<Ref, ProgressBar>>,
}

impl Bars {
    /// Bars for `steps` steps; none when standard error is no terminal.
    pub fn new(terminal: bool, steps: usize) -> Self {
        let each = Mutex::default();
        if !terminal || steps == 0 {
            return Self { all: None, overall: None, each };
        }
        let all = MultiProgress::new();
        let overall = all.add(ProgressBar::new(steps as u64));
        overall.set_style(style("{elapsed_precise} {bar:30} {pos}/{len}"));
        overall.enable_steady_tick(Duration::from_millis(250));
        Self { all: Some(all), overall: Some(overall), each }
    }

    /// Says that a step ended.
    pub fn done(&self, line: &str) {
        self.say(line);
        if let Some(overall) = &self.overall {
            overall.inc(1);
        }
    }

    /// Prints a line above the bars.
    pub fn say(&self, line: &str) {
        match &self.all {
            Some(all) => {
                // A terminal that cannot be written to shows nothing, and the run goes on.
                let _ = all.println(line);
            }
            None => println!("{line}"),
        }
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        let each = self.each.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        each.values().for_each(ProgressBar::finish_and_clear);
        if let Some(overall) = &self.overall {
            overall.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn step(&self, resource: &Ref, what: &str, done: u64, total: u64) {
        let Some(all) = &self.all else { return };
        let mut each = self.each.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bar = each.entry(resource.clone()).or_insert_with(|| all.add(ProgressBar::new(total)));
        // Byte counts are large; a count of stages is small.
        let template = match total {
            0 => "  {prefix} {spinner} {msg} {bytes}",
            1..=1000 => "  {prefix} {bar:30} {pos}/{len} {msg}",
            _ => "  {prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}",
        };
        bar.set_style(style(template));
        bar.set_prefix(resource.to_string());
        bar.set_message(what.to_owned());
        bar.set_length(total);
        bar.set_position(done);
        if total > 0 && done >= total {
            bar.finish_and_clear();
            each.remove(resource);
        }
    }
}
