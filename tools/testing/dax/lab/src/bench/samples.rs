// SPDX-License-Identifier: GPL-2.0

//! Every single measurement, as it comes in.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use fs_err::File;

use super::plan::Cell;
use super::stats::Pair;

pub struct Samples(BufWriter<File>);

impl Samples {
    pub fn create(path: &Path) -> Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(
            file,
            "measure,owners,mapped,processes,round,kernel,nanoseconds"
        )?;
        Ok(Self(file))
    }

    /// Adds what was measured in one round, in nanoseconds.
    pub fn add(
        &mut self,
        measure: &str,
        cell: &Cell,
        round: usize,
        values: &Pair<Vec<f64>>,
    ) -> Result<()> {
        let Cell {
            owners,
            mapped,
            idle,
        } = cell;
        for (kernel, values) in [("stock", &values.stock), ("patched", &values.patched)] {
            for ns in values {
                writeln!(
                    self.0,
                    "{measure},{owners},{mapped},{idle},{round},{kernel},{ns:.0}"
                )?;
            }
        }
        Ok(())
    }

    pub fn end(mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}
