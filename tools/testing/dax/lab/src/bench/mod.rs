// SPDX-License-Identifier: GPL-2.0

//! `dax-lab bench`: the patched kernel beside the stock one, measured in turn.

use anyhow::Result;
use fs_err as fs;

use crate::lab::Lab;

mod driver;
mod fit;
mod measure;
mod plan;
mod plot;
mod progress;
mod samples;
mod stats;
mod table;
mod verdict;

use driver::Guests;
use fit::Growth;
use measure::{Failed, Locked, Notified, Used};
pub use plan::Args;
use plan::{Cell, Plan};
use progress::Progress;
use samples::Samples;
use stats::{Pair, Summary};

/// Where table, plot and samples go.
const DIR: &str = "bench";

pub struct Results {
    pub notified: Vec<Notified>,
    pub locked: Vec<Locked>,
    pub healthy: Vec<Used>,
    pub failed: Vec<Failed>,
    /// What the times are given in; healthy memory has a thousandth of it.
    pub unit: &'static str,
    /// None if there were too few cells for one.
    pub growth: Option<Pair<Growth>>,
}

/// Measures, and prints what came out; the exit status.
pub fn run(lab: &Lab, args: &Args) -> Result<u8> {
    let plan = Plan::new(args)?;
    let dir = lab.build(DIR).join(plan.dir);
    fs::create_dir_all(&dir)?;
    let progress = Progress::new(plan.steps());
    progress.step("booting");
    let (mut guests, about) = Guests::boot(lab, plan.counted)?;
    let samples = Samples::create(&dir.join("samples.csv"))?;
    let results = measure(&plan, &mut guests, samples, &progress)?;
    progress.step("unmounting");
    let ends = guests.both("end")?;
    let mut complaints = guests.complaints()?;
    for (kernel, end) in [("stock", ends.stock), ("patched", ends.patched)] {
        if end != "umount, xfs_repair clean" {
            complaints.push(format!("{kernel}: {end}"));
        }
    }
    drop(guests);

    let mut text = table::about(&about, plan.counted);
    text += &table::results(&results);
    text += &verdict::report(&results, plan.quick, &complaints);
    print!("{text}");
    fs::write(dir.join("report.txt"), &text)?;
    if !results.notified.is_empty() {
        plot::draw(&results, &dir)?;
    }
    if results.failed.len() > 1 {
        plot::draw_pages(&results, &dir)?;
    }
    println!("plot, samples and this report: {}", dir.display());
    let good = complaints.is_empty() && (plan.quick || verdict::good(&results));
    Ok(u8::from(!good))
}

fn measure(
    plan: &Plan,
    guests: &mut Guests,
    mut samples: Samples,
    progress: &Progress,
) -> Result<Results> {
    let healthy = measure::healthy(plan, guests, &mut samples, progress)?;
    let mut failed = Vec::new();
    for &pages in plan.pages.iter().filter(|pages| **pages > 0) {
        progress.step(&format!("{pages} pages at once"));
        failed.push(measure::failed(plan, pages, guests, &mut samples)?);
    }
    for owners in &plan.owners {
        progress.step(&format!("{owners} files that share a block"));
        guests.both(&format!("owners {owners}"))?;
    }
    let (mut notified, mut locked) = (Vec::new(), Vec::new());
    for cell in plan.cells() {
        progress.step(&format!(
            "{} owners, {} mapped, {} processes",
            cell.owners, cell.mapped, cell.idle
        ));
        notified.push(measure::notified(plan, cell, guests, &mut samples)?);
        if plan.watches_lock(&cell) {
            locked.push(measure::locked(plan, cell, guests, &mut samples)?);
        }
    }
    samples.end()?;
    let mut results = Results {
        notified,
        locked,
        healthy,
        failed,
        unit: ["ms", "million instructions"][usize::from(plan.counted)],
        growth: None,
    };
    // As many as there are terms.
    results.growth = (results.notified.len() >= 5).then(|| Pair {
        stock: Growth::fit(&results.points(Notified::stock)),
        patched: Growth::fit(&results.points(Notified::patched)),
    });
    Ok(results)
}

impl Results {
    /// Medians of all cells.
    fn points(&self, of: impl Fn(&Notified) -> Summary) -> Vec<(Cell, f64)> {
        let cells = self.notified.iter();
        cells.map(|n| (n.cell, of(n).median)).collect()
    }
}
