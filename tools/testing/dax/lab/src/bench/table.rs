// SPDX-License-Identifier: GPL-2.0

//! The results as text.

use super::measure::{Failed, Notified, Used};
use super::plan::Cell;
use super::stats::{median, speedups, Pair, Summary};
use super::Results;

/// Under which conditions the figures were measured.
pub fn about(guests: &Pair<String>, counted: bool) -> String {
    let Pair { stock, patched } = guests;
    let unit = if counted {
        "Counted, not timed: an instruction takes one nanosecond, and one CPU runs at a time.\n"
    } else {
        ""
    };
    format!(
        "stock: {stock}; patched: {patched}; 2 emulated CPUs each\n{unit}\
         The kernels print nothing on their consoles meanwhile: a line for each signal on\n\
         a serial port would be most of the time. Who injects and who is told share a CPU.\n"
    )
}

pub fn results(results: &Results) -> String {
    let unit = results.unit;
    let mut text = format!(
        "\nFrom the injection to the last signal, {unit}: median (lowest ... highest). The process\n\
         that maps asked for early kill; the other processes map nothing, and the files that\n\
         nobody maps are in memory.\n\n"
    );
    text += &header(&cells("owners", "mapped", "processes"), WIDE);
    for n in &results.notified {
        let ratio = format!("{:.2}", n.speedup());
        let sides = [n.stock(), n.patched()].map(|s| summary(&s));
        text += &row(&cell(&n.cell), WIDE, n.last_signal.len(), &sides, &ratio);
    }
    if let Some(growth) = &results.growth {
        text += "\nFitted, with the median of the errors:\n";
        for (name, growth, side) in [
            (
                "stock",
                growth.stock,
                Notified::stock as fn(&Notified) -> Summary,
            ),
            ("patched", growth.patched, Notified::patched),
        ] {
            let off = growth.error(&results.points(side)) * 100.0;
            text += &format!("{name:7} {}; {off:.0} % off\n", growth.describe());
        }
    }
    if !results.locked.is_empty() {
        text += "\nLongest time for which a notification held the AGF, ";
        text += &format!("{unit}\n\n");
        text += &header(&cells("owners", "mapped", "processes"), WIDE);
    }
    for l in &results.locked {
        let side = |of: fn(&Pair<f64>) -> f64| summary(&Summary::of(l.longest.iter().map(of)));
        let ratio = format!("{:.1}", median(speedups(&l.longest)));
        let sides = [side(|round| round.stock), side(|round| round.patched)];
        text += &row(&cell(&l.cell), WIDE, l.longest.len(), &sides, &ratio);
    }
    text += &pages(&results.failed, unit);
    if !results.healthy.is_empty() {
        let small = match unit {
            "ms" => "us",
            _ => "thousand instructions",
        };
        text += &format!(
            "\nHealthy memory, {small} a page; stock/patched is above 1 where patched is faster, \
             with its\n95 % interval\n\n"
        );
        text += &header(&" ".repeat(52), NARROW);
    }
    for used in &results.healthy {
        text += &healthy(used);
    }
    text
}

fn pages(failed: &[Failed], unit: &str) -> String {
    if failed.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nPages that fail one right after the other, from the first injection, {unit}: to the last\n\
         signal to the process that maps them; and, free ones, until the last is repaired, which\n\
         the stock kernel does not do.\n\n"
    );
    text += &header(&cells("pages", "", ""), WIDE);
    for n in failed {
        let told = |of: fn(&Pair<f64>) -> f64| summary(&Summary::of(n.told.iter().map(of)));
        let sides = [told(|round| round.stock), told(|round| round.patched)];
        let ratio = format!("{:.2}", median(speedups(&n.told)));
        let first = cells(n.pages, "told", "");
        text += &row(&first, WIDE, n.told.len(), &sides, &ratio);
        let sides = [
            "-".into(),
            summary(&Summary::of(n.repaired.iter().copied())),
        ];
        let first = cells(n.pages, "", "repaired");
        text += &row(&first, WIDE, n.repaired.len(), &sides, "-");
    }
    text
}

/// Columns of the kernels' figures.
const WIDE: usize = 30;
const NARROW: usize = 10;

fn header(first: &str, width: usize) -> String {
    format!(
        "{first} rounds {:>width$} {:>width$}  stock/patched\n",
        "stock", "patched"
    )
}

fn row(first: &str, width: usize, rounds: usize, sides: &[String; 2], ratio: &str) -> String {
    let [stock, patched] = sides;
    format!("{first} {rounds:>6} {stock:>width$} {patched:>width$}  {ratio}\n")
}

fn cells(owners: impl ToString, mapped: impl ToString, processes: impl ToString) -> String {
    let (owners, mapped) = (owners.to_string(), mapped.to_string());
    format!("{owners:>7} {mapped:>7} {:>9}", processes.to_string())
}

fn cell(cell: &Cell) -> String {
    cells(cell.owners, cell.mapped, cell.idle)
}

fn healthy(used: &Used) -> String {
    let Summary { median, min, max } = used.speedup();
    let side = |of: fn(&Pair<f64>) -> f64| {
        let values = used.per_page.iter().map(of);
        time(super::stats::median(values))
    };
    let sides = [side(|round| round.stock), side(|round| round.patched)];
    let ratio = format!("{median:.3} ({min:.3} ... {max:.3})");
    let about = format!("{:52}", used.about());
    row(&about, NARROW, used.per_page.len(), &sides, &ratio)
}

/// A time with three digits that matter.
fn time(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v if v >= 0.9995 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

fn summary(summary: &Summary) -> String {
    let [median, min, max] = [summary.median, summary.min, summary.max].map(time);
    format!("{median} ({min} ... {max})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        let list = [0.0123, 0.9996, 1.234, 12.34, 99.96, 1234.5].map(time);
        assert_eq!(list, ["0.012", "1.00", "1.23", "12.3", "100", "1234"]);
    }
}
