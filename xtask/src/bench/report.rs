//! What a benchmark prints: a table of figures, each with what stands beside it, and the same as JSON.

use std::{fmt, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    Common,
    process::{self, Machine},
};

/// What a figure counts.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Events a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Processor time over time.
    Cores,
    /// Things.
    Count,
}

/// A figure and what it counts.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    /// How many.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
}

/// Events a second.
pub fn per_second(value: f64) -> Figure {
    Figure { value, unit: Unit::PerSecond }
}

/// Bytes.
pub fn bytes(value: f64) -> Figure {
    Figure { value, unit: Unit::Bytes }
}

/// Milliseconds.
pub fn milliseconds(value: f64) -> Figure {
    Figure { value, unit: Unit::Milliseconds }
}

/// Microseconds.
pub fn microseconds(value: f64) -> Figure {
    Figure { value, unit: Unit::Microseconds }
}

/// Processor time over time.
pub fn cores(value: f64) -> Figure {
    Figure { value, unit: Unit::Cores }
}

/// Things.
pub fn count(value: f64) -> Figure {
    Figure { value, unit: Unit::Count }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, unit } = *self;
        let text = match unit {
            Unit::PerSecond => format!("{} /s", grouped(value)),
            Unit::Bytes if value.abs() >= 1024.0 * 1024.0 => {
                format!("{:.2} MiB", value / 1024.0 / 1024.0)
            }
            Unit::Bytes if value.abs() >= 1024.0 => format!("{:.2} KiB", value / 1024.0),
            Unit::Bytes => format!("{value:.0} B"),
            Unit::Milliseconds => format!("{value:.1} ms"),
            Unit::Microseconds => format!("{value:.1} µs"),
            Unit::Cores => format!("{value:.2} cores"),
            Unit::Count => grouped(value),
        };
        f.pad(&text)
    }
}

/// The whole part with commas between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What has to be reached.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The measured figure is at least this.
    AtLeast(Figure),
    /// The measured figure is at most this.
    AtMost(Figure),
    /// The ratio of the measured figure to the one beside it is at least this.
    RatioAtLeast(f64),
    /// The ratio of the measured figure to the one beside it is at most this.
    RatioAtMost(f64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(figure) => f.pad(&format!("at least {figure}")),
            Self::AtMost(figure) => f.pad(&format!("at most {figure}")),
            Self::RatioAtLeast(ratio) => f.pad(&format!("ratio at least {ratio:.2}")),
            Self::RatioAtMost(ratio) => f.pad(&format!("ratio at most {ratio:.2}")),
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub struct Row {
    name: String,
    measured: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<Beside>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Beside {
    name: String,
    figure: Figure,
}

impl Row {
    /// A figure that stands alone.
    pub fn new(name: impl Into<String>, measured: Figure) -> Self {
        Self { name: name.into(), measured, beside: None, ratio: None, target: None, reached: None }
    }

    /// What was measured beside it, and the ratio of the two.
    pub fn beside(self, name: &str, figure: Figure) -> Self {
        let ratio = super::ratio(self.measured.value, figure.value);
        Self { ratio: Some(ratio), ..self.beside_only(name, figure) }
    }

    /// What was measured beside it, where a ratio of the two says nothing.
    pub fn beside_only(self, name: &str, figure: Figure) -> Self {
        Self { beside: Some(Beside { name: name.to_owned(), figure }), ..self }
    }

    /// The ratio, where it is known better than by dividing: as the median over pairs of rounds.
    pub fn ratio(self, ratio: f64) -> Self {
        Self { ratio: Some(ratio), ..self }
    }

    /// What has to be reached.
    pub fn target(self, target: Target) -> Self {
        let ratio = self.ratio.unwrap_or(f64::NAN);
        let reached = match target {
            Target::AtLeast(least) => self.measured.value >= least.value,
            Target::AtMost(most) => self.measured.value <= most.value,
            Target::RatioAtLeast(least) => ratio >= least,
            Target::RatioAtMost(most) => ratio <= most,
        };
        Self { target: Some(target), reached: Some(reached), ..self }
    }

    fn cells(&self) -> [String; 6] {
        let text = |value: Option<String>| value.unwrap_or_default();
        [
            self.name.clone(),
            self.measured.to_string(),
            text(self.beside.as_ref().map(|beside| format!("{} {}", beside.name, beside.figure))),
            text(self.ratio.map(|ratio| format!("{ratio:.3}"))),
            text(self.target.map(|target| target.to_string())),
            text(self.reached.map(|reached| if reached { "reached" } else { "missed" }.to_owned())),
        ]
    }
}

/// All figures of a run, and what a reader must know to judge them.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The machine and the conditions.
    pub machine: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
    /// What stands behind single figures: spreads, limits met, latencies.
    pub notes: Vec<String>,
}

impl Report {
    /// Without figures yet; tells of the machine. Taken before anything is measured.
    pub fn new(open_files: u64) -> Result<Self> {
        let machine = vec![
            process::machine()?,
            format!("open files: at most {open_files}; servers and load generator share the cores"),
        ];
        Ok(Self { machine, ..Self::default() })
    }

    /// Prints the whole, and writes it as JSON if that is wanted. All servers have ended.
    pub fn finish(mut self, since: &Machine, common: &Common) -> Result<()> {
        let others = 100.0 * since.others_since()?;
        self.machine.push(format!("other programs took {others:.0}% of the machine meanwhile"));
        self.print();
        common.json.as_deref().map_or(Ok(()), |file| self.write_json(file))
    }

    /// Adds a figure, and prints it so that a long run shows where it is.
    pub fn row(&mut self, row: Row) {
        let [name, measured, beside, ratio, target, verdict] = row.cells();
        let told: Vec<String> = [(measured, ""), (beside, ""), (ratio, "ratio "), (target, ""), (verdict, "")]
            .into_iter()
            .filter(|(cell, _)| !cell.is_empty())
            .map(|(cell, before)| format!("{before}{cell}"))
            .collect();
        eprintln!("  {name}: {}", told.join(" · "));
        self.rows.push(row);
    }

    /// Adds a note.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The table in Markdown, which reads well on a terminal too and goes into `docs/benchmarks.md` as it is.
    pub fn table(&self) -> String {
        let mut lines = vec![["", "measured", "beside", "ratio", "target", "verdict"].map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let mut widths = [0; 6];
        for cells in &lines {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let rule = widths.map(|width| "-".repeat(width));
        lines.insert(1, rule);
        let mut text = String::new();
        for cells in &lines {
            let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(&format!("| {} |\n", padded.join(" | ")));
        }
        text
    }

    /// Prints the whole.
    fn print(&self) {
        println!();
        for line in &self.machine {
            println!("{line}");
        }
        println!("\n{}", self.table());
        for note in &self.notes {
            println!("- {note}");
        }
        let judged = self.rows.iter().filter(|row| row.reached.is_some()).count();
        let reached = self.rows.iter().filter(|row| row.reached == Some(true)).count();
        println!("\n{reached} of {judged} targets reached");
    }

    /// Writes the whole as JSON.
    fn write_json(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_follows_target() {
        let row = |target| Row::new("x", per_second(70.0)).beside("bare", per_second(100.0)).target(target).reached;
        assert_eq!(row(Target::RatioAtLeast(0.7)), Some(true));
        assert_eq!(row(Target::RatioAtLeast(0.71)), Some(false));
        assert_eq!(row(Target::RatioAtMost(0.69)), Some(false));
        assert_eq!(row(Target::AtLeast(per_second(71.0))), Some(false));
        assert_eq!(row(Target::AtMost(per_second(70.0))), Some(true));
        // A ratio that was never measured reaches nothing.
        assert_eq!(Row::new("x", bytes(1.0)).target(Target::RatioAtMost(2.0)).reached, Some(false));
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(per_second(1_234_567.4).to_string(), "1,234,567 /s");
        assert_eq!(per_second(999.0).to_string(), "999 /s");
        assert_eq!(bytes(187.2).to_string(), "187 B");
        assert_eq!(bytes(20.5 * 1024.0).to_string(), "20.50 KiB");
        assert_eq!(bytes(-3.0 * 1024.0 * 1024.0).to_string(), "-3.00 MiB");
    }
}
