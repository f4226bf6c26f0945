//! What was measured, as a table and as JSON: each figure beside its yardstick, as a ratio, with its spread.

use std::fmt::{self, Write};

use serde_json::{Value, json};

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// So far from 1, either way.
    Within(f64),
    /// From the one to the other.
    Between(f64, f64),
    /// The worst is what counts.
    NeverAbove(f64),
    /// Told, not judged.
    None,
}

impl Target {
    fn holds(self, samples: &Samples) -> bool {
        let value = samples.median();
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Within(distance) => (value - 1.0).abs() <= distance,
            Self::Between(least, most) => (least..=most).contains(&value),
            Self::NeverAbove(most) => samples.highest() <= most,
            Self::None => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::Within(distance) => write!(f, "1 ± {distance}"),
            Self::Between(least, most) => write!(f, "{least}–{most}"),
            Self::NeverAbove(most) => write!(f, "never > {most}"),
            Self::None => Ok(()),
        }
    }
}

/// The same thing measured several times.
#[derive(Debug, Clone)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    fn lowest(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn highest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Each to the one of `others` that was measured beside it.
    fn to(&self, others: &Self) -> Self {
        Self(self.0.iter().zip(&others.0).map(|(ours, theirs)| ours / theirs).collect())
    }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) case: &'static str,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Samples,
    /// Its name, and what it made of the same task; without one the figure itself is judged.
    pub(crate) yardstick: Option<(&'static str, Samples)>,
    pub(crate) target: Target,
}

impl Figure {
    /// A figure that is judged by itself.
    pub(crate) fn alone(
        case: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        ours: Samples,
        target: Target,
    ) -> Self {
        Self { case, what: what.into(), unit, ours, yardstick: None, target }
    }

    /// A figure that is judged as a ratio to `theirs`.
    pub(crate) fn beside(
        case: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        ours: Samples,
        (name, theirs): (&'static str, Samples),
        target: Target,
    ) -> Self {
        Self { case, what: what.into(), unit, ours, yardstick: Some((name, theirs)), target }
    }

    /// What is judged: the ratio to the yardstick, else the figure.
    fn judged(&self) -> Samples {
        match &self.yardstick {
            Some((_, theirs)) => self.ours.to(theirs),
            None => self.ours.clone(),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.target.holds(&self.judged())
    }

    fn json(&self) -> Value {
        let judged = self.judged();
        json!({
            "case": self.case,
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours.0,
            "yardstick": self.yardstick.as_ref().map(|(name, _)| name),
            "theirs": self.yardstick.as_ref().map(|(_, samples)| &samples.0),
            "median": judged.median(),
            "lowest": judged.lowest(),
            "highest": judged.highest(),
            "target": self.target.to_string(),
            "holds": self.holds(),
        })
    }
}

pub(crate) fn json(figures: &[Figure], machine: &Value) -> Value {
    json!({ "machine": machine, "figures": figures.iter().map(Figure::json).collect::<Vec<_>>() })
}

/// A Markdown table, which a terminal shows as well.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut table = String::new();
    let mut line = |cells: [String; 7]| {
        let [case, what, ours, yardstick, judged, spread, target] = cells;
        writeln!(
            table,
            "| {case:4} | {what:39} | {ours:>18} | {yardstick:>26} | {judged:>7} | {spread:>15} | {target:13} |"
        )
        .unwrap();
    };
    line(["case", "figure", "v6fleet", "yardstick", "median", "spread", "target"].map(str::to_owned));
    line([4, 39, 17, 25, 6, 14, 13].map(|width| "-".repeat(width)).map(|dashes| match dashes.len() {
        4 | 39 | 13 => dashes,
        _ => dashes + ":",
    }));
    for figure in figures {
        let judged = figure.judged();
        let yardstick =
            figure.yardstick.as_ref().map(|(name, theirs)| format!("{name} {}", short(theirs.median())));
        let missed = if figure.holds() { "" } else { " missed" };
        line([
            figure.case.to_owned(),
            figure.what.clone(),
            format!("{} {}", short(figure.ours.median()), figure.unit),
            yardstick.unwrap_or_default(),
            short(judged.median()),
            format!("{}–{}", short(judged.lowest()), short(judged.highest())),
            format!("{}{missed}", figure.target),
        ]);
    }
    table
}

/// Three digits that count, or all before the point.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        0.0..10.0 => 3,
        10.0..1000.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}
