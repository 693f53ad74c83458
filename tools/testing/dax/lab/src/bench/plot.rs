// SPDX-License-Identifier: GPL-2.0

//! The results as pictures, each as SVG and as PNG.

use std::ops::Range;
use std::path::Path;

use anyhow::{anyhow, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{register_font, FontStyle};

use super::fit::Growth;
use super::measure::Notified;
use super::stats::{interval, median, speedups, Pair, Summary};
use super::table::time;
use super::Results;

const FONT: &str = "sans-serif";
const SIZE: (u32, u32) = (1280, 640);
/// One for each number of idle processes; further ones repeat.
const COLORS: [RGBColor; 4] = [
    RGBColor(27, 94, 170),
    RGBColor(210, 95, 15),
    RGBColor(30, 130, 60),
    RGBColor(140, 40, 120),
];

type Area<B> = DrawingArea<B, Shift>;

/// Draws what was measured into `dir`.
pub fn draw(results: &Results, dir: &Path) -> Result<()> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| anyhow!("the font can't be read"))?;
    if !results.notified.is_empty() {
        both(dir, "notification", &Notifications(results))?;
    }
    if !results.locked.is_empty() {
        both(dir, "agf", &Locks(results))?;
    }
    if !results.healthy.is_empty() {
        both(dir, "healthy", &Speedups(results))?;
    }
    Ok(())
}

trait Picture {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Result<()>;
}

fn both(dir: &Path, name: &str, picture: &impl Picture) -> Result<()> {
    let svg = dir.join(format!("{name}.svg"));
    finish(picture, SVGBackend::new(&svg, SIZE).into_drawing_area())?;
    let png = dir.join(format!("{name}.png"));
    finish(picture, BitMapBackend::new(&png, SIZE).into_drawing_area())
}

fn finish<B: DrawingBackend>(picture: &impl Picture, area: Area<B>) -> Result<()> {
    area.fill(&WHITE).map_err(failed)?;
    picture.draw(&area)?;
    area.present().map_err(failed)
}

/// The backends' errors can't be kept: they borrow.
fn failed(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("plot: {e}")
}

/// A range that holds all values and some room, for a logarithmic axis.
fn room(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(0.0, f64::max);
    low / 1.6..high * 1.6
}

/// The powers of ten around all values.
fn decades(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let Range { start, end } = room(values);
    10f64.powf(start.log10().floor())..10f64.powf(end.log10().ceil())
}

/// Time against the number of owners, for each number of processes: points for what
/// was measured, from the lowest to the highest, and lines for the fit.
struct Notifications<'a>(&'a Results);

impl Picture for Notifications<'_> {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Result<()> {
        let (few, all): (Vec<_>, Vec<_>) =
            (self.0.notified.iter()).partition(|n| !n.cell.all_mapped());
        let few_title = "10 of the owners mapped";
        let panels: Vec<_> = [("all owners mapped", all), (few_title, few)]
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .collect();
        let title = "From the injection to the last signal";
        let area = area.titled(title, (FONT, 22)).map_err(failed)?;
        for ((title, list), area) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
            self.panel(&area, title, list)?;
        }
        Ok(())
    }
}

impl Notifications<'_> {
    fn panel<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        title: &str,
        list: &[&Notified],
    ) -> Result<()> {
        let all = self.0.notified.iter();
        let owners = all.clone().map(|n| n.cell.owners as f64);
        let times = all
            .flat_map(|n| [n.stock(), n.patched()])
            .flat_map(|s| [s.min, s.max]);
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 17))
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(60)
            .build_cartesian_2d(room(owners).log_scale(), room(times).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("files that own the block")
            .y_desc(self.0.unit)
            .x_label_formatter(&|n| format!("{n:.0}"))
            .y_label_formatter(&|ms| axis(*ms))
            .label_style((FONT, 14))
            .light_line_style(BLACK.mix(0.04))
            .draw()
            .map_err(failed)?;
        let mut idle: Vec<usize> = list.iter().map(|n| n.cell.idle).collect();
        idle.sort_unstable();
        idle.dedup();
        for (processes, color) in idle.into_iter().zip(COLORS.into_iter().cycle()) {
            let cells: Vec<_> = list.iter().filter(|n| n.cell.idle == processes).collect();
            let points = cells.iter().flat_map(|n| {
                let x = n.cell.owners as f64;
                [
                    (x, n.stock(), color.stroke_width(2)),
                    (x, n.patched(), color.filled()),
                ]
            });
            for (x, Summary { median, min, max }, style) in points {
                let bar = PathElement::new([(x, min), (x, max)], color.stroke_width(1));
                chart.draw_series([bar]).map_err(failed)?;
                chart
                    .draw_series([Circle::new((x, median), 4, style)])
                    .map_err(failed)?;
            }
            let lines = cells_lines(&cells, self.0.growth.as_ref());
            chart
                .draw_series(DashedLineSeries::new(
                    lines.stock,
                    6,
                    4,
                    color.stroke_width(2),
                ))
                .map_err(failed)?
                .label(format!("stock, {processes} processes"))
                .legend(move |(x, y)| {
                    EmptyElement::at((x, y))
                        + PathElement::new([(0, 0), (7, 0)], color.stroke_width(2))
                        + PathElement::new([(11, 0), (18, 0)], color.stroke_width(2))
                });
            chart
                .draw_series(LineSeries::new(lines.patched, color.stroke_width(2)))
                .map_err(failed)?
                .label(format!("patched, {processes} processes"))
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font((FONT, 14))
            .draw()
            .map_err(failed)
    }
}

/// The fit between the smallest and the largest of these cells; their medians if there
/// is no fit.
fn cells_lines(cells: &[&&Notified], growth: Option<&Pair<Growth>>) -> Pair<Vec<(f64, f64)>> {
    const STEPS: i32 = 60;
    let Some(growth) = growth else {
        let line = |of: fn(&Notified) -> Summary| {
            let point = |n: &&&Notified| (n.cell.owners as f64, of(n).median);
            cells.iter().map(point).collect()
        };
        return Pair {
            stock: line(Notified::stock),
            patched: line(Notified::patched),
        };
    };
    let owners = cells.iter().map(|n| n.cell.owners);
    let (Some(first), Some(last)) = (owners.clone().min(), owners.max()) else {
        return Pair::default();
    };
    let step = (last as f64 / first as f64).powf(1.0 / f64::from(STEPS));
    let line = |growth: &Growth| {
        let at = |n: i32| {
            let x = first as f64 * step.powi(n);
            let model = cells[0].cell;
            let mapped = if model.all_mapped() {
                x
            } else {
                x.min(model.mapped as f64)
            };
            (x, growth.at_numbers(x, mapped, model.idle as f64))
        };
        (0..=STEPS).map(at).collect()
    };
    Pair {
        stock: line(&growth.stock),
        patched: line(&growth.patched),
    }
}

/// A power of ten, or something near one.
fn axis(value: f64) -> String {
    if value >= 1.0 {
        format!("{value:.0}")
    } else {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').into()
    }
}

/// How long the AGF was held.
struct Locks<'a>(&'a Results);

impl Picture for Locks<'_> {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Result<()> {
        let rows = &self.0.locked;
        let summary =
            |of: fn(&Pair<f64>) -> f64, n: usize| Summary::of(rows[n].longest.iter().map(of));
        let bars: Vec<_> = (0..rows.len())
            .flat_map(|n| {
                let x = n as f64;
                let stock = summary(|round| round.stock, n);
                let patched = summary(|round| round.patched, n);
                [(x + 0.15, stock, COLORS[1]), (x + 0.5, patched, COLORS[0])]
            })
            .collect();
        let times = decades(bars.iter().flat_map(|(_, s, _)| [s.min, s.max]));
        let floor = times.start;
        let label = |x: &f64| -> String {
            let cell = rows.get((x - 0.5).round() as usize).map(|row| row.cell);
            match cell {
                Some(cell) if (x - x.floor() - 0.5).abs() < 1e-6 => {
                    format!("{} owners, {} processes", cell.owners, cell.idle)
                }
                _ => String::new(),
            }
        };
        let mut chart = ChartBuilder::on(area)
            .caption(
                "Longest time for which a notification held the AGF",
                (FONT, 22),
            )
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(60)
            .build_cartesian_2d((0.0..rows.len() as f64).step(0.5), times.log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(2 * rows.len() + 1)
            .x_label_formatter(&label)
            .y_desc(self.0.unit)
            .y_label_formatter(&|ms| axis(*ms))
            .label_style((FONT, 14))
            .draw()
            .map_err(failed)?;
        for (x, s, color) in &bars {
            let bar = Rectangle::new([(*x, floor), (x + 0.35, s.median)], color.filled());
            chart.draw_series([bar]).map_err(failed)?;
            // The text hangs from its position.
            let text = EmptyElement::at((x + 0.1, s.median))
                + Text::new(time(s.median), (0, -18), (FONT, 14));
            chart.draw_series([text]).map_err(failed)?;
        }
        for (color, name) in [(COLORS[1], "stock"), (COLORS[0], "patched")] {
            chart
                .draw_series(LineSeries::new([], color))
                .map_err(failed)?
                .label(name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.filled())
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .border_style(BLACK.mix(0.3))
            .label_font((FONT, 14))
            .draw()
            .map_err(failed)
    }
}

/// How fast healthy memory is, round by round, with the medians' intervals.
struct Speedups<'a>(&'a Results);

impl Picture for Speedups<'_> {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Result<()> {
        let rows = &self.0.healthy;
        let label = |x: &f64| -> String {
            let row = rows.get((x - 0.5).round() as usize);
            match row {
                Some(row) if (x - x.floor() - 0.5).abs() < 1e-6 => row.label().into(),
                _ => String::new(),
            }
        };
        let mut chart = ChartBuilder::on(area)
            .caption("Healthy memory: speed of patched / stock", (FONT, 22))
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(60)
            .build_cartesian_2d((0.0..rows.len() as f64).step(0.5), 0.8..1.2)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(2 * rows.len() + 1)
            .x_label_formatter(&label)
            .y_label_formatter(&|ratio| format!("{ratio:.2}"))
            .label_style((FONT, 14))
            .draw()
            .map_err(failed)?;
        let target = PathElement::new([(0.0, 0.99), (rows.len() as f64, 0.99)], RED.mix(0.6));
        chart.draw_series([target]).map_err(failed)?;
        for (n, row) in rows.iter().enumerate() {
            let ratios: Vec<f64> = speedups(&row.per_page).collect();
            let dots = ratios.iter().enumerate().map(|(round, ratio)| {
                let x = n as f64 + 0.15 + 0.7 * (round as f64 + 0.5) / ratios.len() as f64;
                Circle::new((x, ratio.clamp(0.8, 1.2)), 3, COLORS[0].mix(0.4).filled())
            });
            chart.draw_series(dots).map_err(failed)?;
            let Summary { min, max, .. } = interval(ratios.iter().copied());
            let (left, right) = (n as f64 + 0.1, n as f64 + 0.9);
            let band = Rectangle::new([(left, min), (right, max)], COLORS[1].mix(0.25).filled());
            chart.draw_series([band]).map_err(failed)?;
            let middle = median(ratios.iter().copied());
            let line =
                PathElement::new([(left, middle), (right, middle)], COLORS[1].stroke_width(2));
            chart.draw_series([line]).map_err(failed)?;
        }
        Ok(())
    }
}
