//! The table at the end: target, measured, met.

use std::fmt;

/// One line.
struct Row {
    what: String,
    measured: String,
    floor: String,
    target: String,
    met: Option<bool>,
}

/// All lines.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    broken: bool,
}

/// What a figure must be.
#[derive(Clone, Copy)]
pub enum Target {
    /// At most so many of a unit.
    Most(f64, &'static str),
    /// At least so many.
    Least(f64, &'static str),
    /// For comparison only.
    None(&'static str),
}

impl Target {
    fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::Most(most, _) => Some(value <= most),
            Self::Least(least, _) => Some(value >= least),
            Self::None(_) => None,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Most(_, unit) | Self::Least(_, unit) | Self::None(unit) => unit,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Most(most, unit) => write!(f, "≤ {most}{unit}"),
            Self::Least(least, unit) => write!(f, "≥ {least}{unit}"),
            Self::None(_) => Ok(()),
        }
    }
}

impl Table {
    /// A figure by itself.
    pub fn figure(&mut self, what: impl Into<String>, value: f64, target: Target) {
        self.against(what, value, "", target);
    }

    /// A figure, with the floor it was taken beside in words.
    pub fn against(&mut self, what: impl Into<String>, value: f64, floor: impl Into<String>, target: Target) {
        let digits = if value >= 100.0 { 0 } else { 3 };
        let row = Row {
            what: what.into(),
            measured: format!("{value:.digits$}{}", target.unit()),
            floor: floor.into(),
            target: target.to_string(),
            met: target.met(value),
        };
        eprintln!("  {}: {} ({}) target {}", row.what, row.measured, row.floor, row.target);
        self.rows.push(row);
    }

    /// A part that could not run.
    pub fn failed(&mut self, part: &str, why: &str) {
        eprintln!("  {part}: {why}");
        self.broken = true;
        let (measured, floor) = ("not measured".to_owned(), why.to_owned());
        self.rows.push(Row { what: part.to_owned(), measured, floor, target: String::new(), met: Some(false) });
    }

    /// Whether a part could not run.
    pub fn broken(&self) -> bool {
        self.broken
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |met: Option<bool>| match met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        writeln!(f, "\n| what | target | measured | met | beside |\n|---|---|---|---|---|")?;
        for Row { what, measured, floor, target, met } in &self.rows {
            writeln!(f, "| {what} | {target} | {measured} | {} | {floor} |", word(*met))?;
        }
        Ok(())
    }
}
