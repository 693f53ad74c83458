// SPDX-License-Identifier: GPL-2.0

//! Every single measurement, as it comes in.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::driver::Side;
use super::plan::Cell;

pub struct Samples(BufWriter<File>);

impl Samples {
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let mut file = BufWriter::new(file);
        writeln!(
            file,
            "measure,owners,mapped,processes,round,kernel,nanoseconds"
        )?;
        Ok(Self(file))
    }

    /// Adds the values of one kernel in one round.
    pub fn add(
        &mut self,
        measure: &str,
        cell: &Cell,
        round: usize,
        side: Side,
        values_ns: &[f64],
    ) -> Result<()> {
        let Cell {
            owners,
            mapped,
            idle,
        } = cell;
        let kernel = match side {
            Side::Stock => "stock",
            Side::Patched => "patched",
        };
        for ns in values_ns {
            writeln!(
                self.0,
                "{measure},{owners},{mapped},{idle},{round},{kernel},{ns:.0}"
            )?;
        }
        Ok(())
    }

    pub fn end(mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}
