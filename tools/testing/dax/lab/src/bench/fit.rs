// SPDX-License-Identifier: GPL-2.0

//! How the cost of a notification grows, as a sum of terms that none is negative.

use super::plan::Cell;

const TERMS: usize = 5;

/// Milliseconds, of which the notification of a cell takes the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Growth {
    pub constant: f64,
    pub per_owner: f64,
    pub per_mapped: f64,
    pub per_process: f64,
    /// For each mapped owner and each process.
    pub per_pair: f64,
}

impl Growth {
    /// The fit whose relative errors have the least squares: the cells span four
    /// orders of magnitude, and the large ones must not be all that counts.
    pub fn fit(cells: &[(Cell, f64)]) -> Self {
        let rows: Vec<[f64; TERMS]> = cells
            .iter()
            .map(|(cell, ms)| terms(cell).map(|term| term / ms))
            .collect();
        let [constant, per_owner, per_mapped, per_process, per_pair] = least_squares(&rows);
        Self {
            constant,
            per_owner,
            per_mapped,
            per_process,
            per_pair,
        }
    }

    pub fn at(&self, cell: &Cell) -> f64 {
        self.at_numbers(cell.owners as f64, cell.mapped as f64, cell.idle as f64)
    }

    /// As [`Growth::at`], also between whole numbers.
    pub fn at_numbers(&self, owners: f64, mapped: f64, idle: f64) -> f64 {
        self.constant
            + self.per_owner * owners
            + self.per_mapped * mapped
            + self.per_process * idle
            + self.per_pair * mapped * idle
    }

    /// How far off it is, as a factor less one: median of the cells.
    pub fn error(&self, cells: &[(Cell, f64)]) -> f64 {
        super::stats::median(
            cells
                .iter()
                .map(|(cell, ms)| (self.at(cell) / ms - 1.0).abs()),
        )
    }

    /// In one line.
    pub fn describe(&self) -> String {
        format!(
            "{:.2} + {:.2} per 1000 owners + {:.2} per 1000 mapped + {:.2} per 1000 processes \
             + {:.1} per 10^6 mapped x processes",
            self.constant,
            self.per_owner * 1e3,
            self.per_mapped * 1e3,
            self.per_process * 1e3,
            self.per_pair * 1e6,
        )
    }
}

fn terms(cell: &Cell) -> [f64; TERMS] {
    let [owners, mapped, idle] = [cell.owners, cell.mapped, cell.idle].map(|n| n as f64);
    [1.0, owners, mapped, idle, mapped * idle]
}

/// So often, each coefficient in turn takes its best value beside the others.
const ROUNDS: usize = 200_000;

/// The coefficients, none negative, with which each row comes closest to 1.
fn least_squares(rows: &[[f64; TERMS]]) -> [f64; TERMS] {
    let sum = |f: &dyn Fn(&[f64; TERMS]) -> f64| -> f64 { rows.iter().map(f).sum() };
    // Columns differ by orders of magnitude: scale them to the same length.
    let scale: [f64; TERMS] = std::array::from_fn(|i| sum(&|row| row[i].powi(2)).sqrt());
    let used: Vec<usize> = (0..TERMS).filter(|&i| scale[i] > 0.0).collect();
    let mut dot = [[0.0; TERMS]; TERMS];
    for (i, j) in used.iter().flat_map(|&i| used.iter().map(move |&j| (i, j))) {
        dot[i][j] = sum(&|row| row[i] * row[j]) / scale[i] / scale[j];
    }
    let wanted: [f64; TERMS] = std::array::from_fn(|i| sum(&|row| row[i]) / scale[i]);
    let mut x = [0.0; TERMS];
    for _ in 0..ROUNDS {
        for &i in &used {
            let others: f64 = used.iter().map(|&j| dot[i][j] * x[j]).sum::<f64>() - x[i];
            x[i] = (wanted[i] - others).max(0.0);
        }
    }
    std::array::from_fn(|i| if scale[i] > 0.0 { x[i] / scale[i] } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(growth: &Growth) -> Vec<(Cell, f64)> {
        let mut points = Vec::new();
        for owners in [1, 100, 1000, 4000, 20000] {
            for (idle, few) in [(0, true), (0, false), (500, true), (2000, false)] {
                let mapped = if few { owners.min(10) } else { owners };
                let cell = Cell {
                    owners,
                    mapped,
                    idle,
                };
                points.push((cell, growth.at(&cell)));
            }
        }
        points
    }

    const FLAT: Growth = Growth {
        constant: 0.3,
        per_owner: 0.002,
        per_mapped: 0.0,
        per_process: 0.0,
        per_pair: 0.0,
    };

    #[test]
    fn exact_growth_is_found() {
        let want = Growth {
            per_mapped: 0.004,
            per_process: 0.0003,
            per_pair: 0.00017,
            ..FLAT
        };
        let points = measured(&want);
        let got = Growth::fit(&points);
        assert!((got.per_pair / want.per_pair - 1.0).abs() < 1e-6, "{got:?}");
        assert!((got.constant / want.constant - 1.0).abs() < 1e-6);
        assert!(got.error(&points) < 1e-6);
    }

    #[test]
    fn what_does_not_count_is_zero() {
        let mut points = measured(&FLAT);
        for (n, (_, ms)) in points.iter_mut().enumerate() {
            *ms *= if n % 2 == 0 { 1.03 } else { 0.97 };
        }
        let got = Growth::fit(&points);
        assert!(got.per_pair < 1e-6, "{got:?}");
        assert!((got.per_owner / FLAT.per_owner - 1.0).abs() < 0.05);
    }

    /// All owners mapped: what grows with them can't be told from what grows with
    /// the mappings, but the sum can.
    #[test]
    fn too_few_kinds_of_cells() {
        let mut points = measured(&FLAT);
        points.retain(|(cell, _)| cell.owners == cell.mapped && cell.idle == 0);
        let got = Growth::fit(&points);
        let sum = got.per_owner + got.per_mapped;
        assert!((sum / FLAT.per_owner - 1.0).abs() < 1e-6, "{got:?}");
    }
}
