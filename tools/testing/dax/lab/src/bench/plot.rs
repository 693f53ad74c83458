// SPDX-License-Identifier: GPL-2.0

//! How notifications grow as a picture, as SVG and as PNG.

use std::ops::Range;
use std::path::Path;

use anyhow::{anyhow, Result};
use plotters::coord::combinators::LogCoord;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{register_font, FontStyle};

use super::fit::Growth;
use super::measure::{Failed, Notified};
use super::stats::{Pair, Summary};
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

/// Draws it into `dir`.
pub fn draw(results: &Results, dir: &Path) -> Result<()> {
    use_font()?;
    let (svg, png) = (dir.join("notification.svg"), dir.join("notification.png"));
    notifications(results, SVGBackend::new(&svg, SIZE).into_drawing_area())?;
    notifications(results, BitMapBackend::new(&png, SIZE).into_drawing_area())
}

/// Draws how long it takes until all pages are told of, or repaired, into `dir`.
pub fn draw_pages(results: &Results, dir: &Path) -> Result<()> {
    use_font()?;
    let (svg, png) = (dir.join("pages.svg"), dir.join("pages.png"));
    pages(results, SVGBackend::new(&svg, SIZE).into_drawing_area())?;
    pages(results, BitMapBackend::new(&png, SIZE).into_drawing_area())
}

fn use_font() -> Result<()> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| anyhow!("the font can't be read"))
}

fn pages<B: DrawingBackend>(results: &Results, area: Area<B>) -> Result<()> {
    area.fill(&WHITE).map_err(failed)?;
    let side = |of: fn(&Pair<f64>) -> f64| -> Vec<(f64, Summary)> {
        let line = |n: &Failed| (n.pages as f64, Summary::of(n.told.iter().map(of)));
        results.failed.iter().map(line).collect()
    };
    let repaired = |n: &Failed| (n.pages as f64, Summary::of(n.repaired.iter().copied()));
    let lines = [
        ("told, stock", side(|round| round.stock)),
        ("told, patched", side(|round| round.patched)),
        (
            "repaired, patched",
            results.failed.iter().map(repaired).collect(),
        ),
    ];
    let all = lines.iter().flat_map(|(_, line)| line);
    let times = all.clone().flat_map(|(_, s)| [s.min, s.max]);
    let counts = all.clone().map(|(pages, _)| *pages);
    let caption = ("Pages that fail one right after the other", 22);
    let names = ("pages", results.unit);
    let mut chart = axes(&area, caption, names, room(counts), room(times))?;
    for ((name, line), color) in lines.iter().zip(COLORS) {
        let medians = line.iter().map(|(pages, s)| (*pages, s.median));
        chart
            .draw_series(LineSeries::new(medians, color.stroke_width(2)))
            .map_err(failed)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
        let bars = line.iter().map(|(pages, s)| {
            PathElement::new([(*pages, s.min), (*pages, s.max)], color.stroke_width(2))
        });
        chart.draw_series(bars).map_err(failed)?;
    }
    legend(&mut chart)?;
    area.present().map_err(failed)
}

type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<LogCoord<f64>, LogCoord<f64>>>;

/// An empty chart with its two axes, which are logarithmic. A caption has a size.
fn axes<'a, B: DrawingBackend + 'a>(
    area: &Area<B>,
    (caption, size): (&str, u32),
    (x_name, y_name): (&str, &str),
    x: Range<f64>,
    y: Range<f64>,
) -> Result<Chart<'a, B>> {
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, size))
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(60)
        .build_cartesian_2d(x.log_scale(), y.log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(&|n| format!("{n:.0}"))
        .y_label_formatter(&|ms| axis(*ms))
        .label_style((FONT, 14))
        .light_line_style(BLACK.mix(0.04))
        .draw()
        .map_err(failed)?;
    Ok(chart)
}

fn legend<'a, B: DrawingBackend + 'a>(chart: &mut Chart<'a, B>) -> Result<()> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 14))
        .draw()
        .map_err(failed)
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

/// Time against the number of owners, for each number of processes: points for what
/// was measured, from the lowest to the highest, and lines for the fit.
fn notifications<B: DrawingBackend>(results: &Results, area: Area<B>) -> Result<()> {
    area.fill(&WHITE).map_err(failed)?;
    let (few, all): (Vec<_>, Vec<_>) =
        (results.notified.iter()).partition(|n| !n.cell.all_mapped());
    let few_title = "10 of the owners mapped";
    let panels: Vec<_> = [("all owners mapped", all), (few_title, few)]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .collect();
    let title = "From the injection to the last signal";
    let titled = area.titled(title, (FONT, 22)).map_err(failed)?;
    for ((title, list), area) in panels.iter().zip(titled.split_evenly((1, panels.len()))) {
        panel(results, &area, title, list)?;
    }
    area.present().map_err(failed)
}

fn panel<B: DrawingBackend>(
    results: &Results,
    area: &Area<B>,
    title: &str,
    list: &[&Notified],
) -> Result<()> {
    let all = results.notified.iter();
    let owners = all.clone().map(|n| n.cell.owners as f64);
    let times = all
        .flat_map(|n| [n.stock(), n.patched()])
        .flat_map(|s| [s.min, s.max]);
    let names = ("files that own the block", results.unit);
    let mut chart = axes(area, (title, 17), names, room(owners), room(times))?;
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
        let lines = cells_lines(&cells, results.growth.as_ref());
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
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    legend(&mut chart)
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
