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

/// The coefficients, none negative, with which each row comes closest to 1. With so
/// few, each choice of those that are zero can be tried.
fn least_squares(rows: &[[f64; TERMS]]) -> [f64; TERMS] {
    let squares = |x: &[f64; TERMS]| -> f64 {
        let residue = |row: &[f64; TERMS]| 1.0 - dot(row, x);
        rows.iter().map(|row| residue(row).powi(2)).sum()
    };
    (1..1usize << TERMS)
        .filter_map(|used| solve(rows, used))
        .filter(|x| x.iter().all(|&c| c >= 0.0))
        .min_by(|a, b| squares(a).total_cmp(&squares(b)))
        .unwrap_or_default()
}

fn dot(a: &[f64; TERMS], b: &[f64; TERMS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The normal equations for the coefficients whose bits are set in `used`, or none
/// if the rows don't determine them.
fn solve(rows: &[[f64; TERMS]], used: usize) -> Option<[f64; TERMS]> {
    let list: Vec<usize> = (0..TERMS).filter(|n| used & (1 << n) != 0).collect();
    let sum = |f: &dyn Fn(&[f64; TERMS]) -> f64| -> f64 { rows.iter().map(f).sum() };
    // Columns differ by orders of magnitude: scale them to the same length.
    let scale: Vec<f64> = list
        .iter()
        .map(|&i| sum(&|row| row[i].powi(2)).sqrt())
        .collect();
    if scale.contains(&0.0) {
        return None;
    }
    let n = list.len();
    let mut matrix: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let column = |j: usize| sum(&|row| row[list[i]] * row[list[j]]) / scale[i] / scale[j];
            let mut line: Vec<f64> = (0..n).map(column).collect();
            line.push(sum(&|row| row[list[i]]) / scale[i]);
            line
        })
        .collect();
    eliminate(&mut matrix)?;
    let mut x = [0.0; TERMS];
    for (i, &term) in list.iter().enumerate() {
        x[term] = matrix[i][n] / scale[i];
    }
    Some(x)
}

/// Gauss and Jordan, on a matrix that is symmetric and positive.
fn eliminate(matrix: &mut [Vec<f64>]) -> Option<()> {
    for pivot in 0..matrix.len() {
        let by = matrix[pivot][pivot];
        if by < 1e-9 {
            return None;
        }
        matrix[pivot].iter_mut().for_each(|value| *value /= by);
        let line = matrix[pivot].clone();
        for (row, other) in matrix.iter_mut().enumerate() {
            let factor = other[pivot];
            if row != pivot {
                other
                    .iter_mut()
                    .zip(&line)
                    .for_each(|(a, b)| *a -= factor * b);
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells() -> Vec<Cell> {
        let mut cells = Vec::new();
        for owners in [1, 100, 1000, 4000, 20000] {
            for idle in [0, 500, 2000] {
                for mapped in [owners.min(10), owners] {
                    cells.push(Cell {
                        owners,
                        mapped,
                        idle,
                    });
                }
            }
        }
        cells
    }

    fn measured(growth: &Growth) -> Vec<(Cell, f64)> {
        let all = cells().into_iter();
        all.map(|cell| (cell, growth.at(&cell))).collect()
    }

    #[test]
    fn exact_growth_is_found() {
        let want = Growth {
            constant: 0.3,
            per_owner: 0.002,
            per_mapped: 0.004,
            per_process: 0.0003,
            per_pair: 0.00017,
        };
        let points = measured(&want);
        let got = Growth::fit(&points);
        assert!((got.per_pair / want.per_pair - 1.0).abs() < 1e-6, "{got:?}");
        assert!((got.constant / want.constant - 1.0).abs() < 1e-6);
        assert!(got.error(&points) < 1e-6);
    }

    #[test]
    fn what_does_not_count_is_zero() {
        let want = Growth {
            constant: 0.3,
            per_owner: 0.002,
            ..Growth::default()
        };
        let mut points = measured(&want);
        for (n, (_, ms)) in points.iter_mut().enumerate() {
            *ms *= if n % 2 == 0 { 1.03 } else { 0.97 };
        }
        let got = Growth::fit(&points);
        assert!(got.per_pair < 1e-6, "{got:?}");
        assert!((got.per_owner / want.per_owner - 1.0).abs() < 0.05);
    }

    /// All owners mapped: what grows with them can't be told from what grows with
    /// the mappings, but the sum can.
    #[test]
    fn too_few_kinds_of_cells() {
        let want = Growth {
            constant: 1.0,
            per_mapped: 0.01,
            ..Growth::default()
        };
        let mut points = measured(&want);
        points.retain(|(cell, _)| cell.owners == cell.mapped && cell.idle == 0);
        let got = Growth::fit(&points);
        assert!(
            (got.per_owner + got.per_mapped - 0.01).abs() < 1e-6,
            "{got:?}"
        );
    }
}
