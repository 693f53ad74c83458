// SPDX-License-Identifier: GPL-2.0

//! The results as text.

use std::fmt::Write;

use super::measure::{Locked, Notified, Used};
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
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = write(&mut text, results);
    text
}

fn write(out: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(
        out,
        "\nFrom the injection to the last signal, {}: median (lowest ... highest). The process\n\
         that maps asked for early kill; the other processes map nothing, and the files that\n\
         nobody maps are in memory.\n\n\
         {} rounds {:>30} {:>30}  stock/patched",
        results.unit,
        cell_header(),
        "stock",
        "patched"
    )?;
    for row in &results.notified {
        notified(out, row)?;
    }
    if let Some(growth) = &results.growth {
        let points = |of: fn(&Notified) -> f64| -> Vec<(Cell, f64)> {
            results.notified.iter().map(|n| (n.cell, of(n))).collect()
        };
        let off = Pair {
            stock: growth.stock.error(&points(|n| n.stock().median)),
            patched: growth.patched.error(&points(|n| n.patched().median)),
        };
        writeln!(out, "\nFitted, with the median of the errors:")?;
        for (name, growth, off) in [
            ("stock", growth.stock, off.stock),
            ("patched", growth.patched, off.patched),
        ] {
            let line = growth.describe();
            writeln!(out, "{name:7} {line}; {:.0} % off", off * 100.0)?;
        }
    }
    if !results.locked.is_empty() {
        writeln!(
            out,
            "\nLongest time for which a notification held the AGF, {}\n\n\
             {} rounds {:>30} {:>30}  stock/patched",
            results.unit,
            cell_header(),
            "stock",
            "patched"
        )?;
    }
    for row in &results.locked {
        locked(out, row)?;
    }
    if !results.healthy.is_empty() {
        writeln!(
            out,
            "\nHealthy memory, {} a page; stock/patched is above 1 where patched is faster, with \
             its\n95 % interval\n\n{:52} rounds {:>10} {:>10}  stock/patched",
            if results.unit == "ms" {
                "us"
            } else {
                "thousand instructions"
            },
            "",
            "stock",
            "patched"
        )?;
    }
    for row in &results.healthy {
        used(out, row)?;
    }
    Ok(())
}

fn cell_header() -> String {
    format!("{:>7} {:>7} {:>9}", "owners", "mapped", "processes")
}

fn cell(cell: &Cell) -> String {
    format!("{:>7} {:>7} {:>9}", cell.owners, cell.mapped, cell.idle)
}

/// A time with three digits that matter.
pub fn time(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v if v >= 0.9995 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

fn summary(summary: &Summary) -> String {
    format!(
        "{} ({} ... {})",
        time(summary.median),
        time(summary.min),
        time(summary.max)
    )
}

fn notified(out: &mut String, row: &Notified) -> std::fmt::Result {
    writeln!(
        out,
        "{} {:>6} {:>30} {:>30}  {:.2}",
        cell(&row.cell),
        row.last_signal.len(),
        summary(&row.stock()),
        summary(&row.patched()),
        row.speedup()
    )
}

fn locked(out: &mut String, row: &Locked) -> std::fmt::Result {
    writeln!(
        out,
        "{} {:>6} {:>30} {:>30}  {:.1}",
        cell(&row.cell),
        row.longest.len(),
        summary(&Summary::of(row.longest.iter().map(|round| round.stock))),
        summary(&Summary::of(row.longest.iter().map(|round| round.patched))),
        median(speedups(&row.longest))
    )
}

fn used(out: &mut String, row: &Used) -> std::fmt::Result {
    let Summary { median, min, max } = row.speedup();
    let per_page = |of: fn(&Pair<f64>) -> f64| super::stats::median(row.per_page.iter().map(of));
    writeln!(
        out,
        "{:52} {:>6} {:>10} {:>10}  {median:.3} ({min:.3} ... {max:.3})",
        row.about(),
        row.per_page.len(),
        time(per_page(|round| round.stock)),
        time(per_page(|round| round.patched)),
    )
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
