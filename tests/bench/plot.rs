//! Curves as SVG: panels below each other over one axis.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

const WIDTH: u32 = 900;
const PANEL_HEIGHT: u32 = 220;
const COLORS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44), RGBColor(148, 103, 189)];

/// Curves that share both axes.
pub struct Panel {
    /// What the upright axis counts, with its unit.
    pub title: String,
    /// Name and points of each curve, ascending in the first figure of a point.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

/// Writes `panels` to `path`; `x_title` says what the common axis counts, with its unit. Upright axes start at 0, so
/// that what looks flat is flat.
pub fn write(path: &Path, x_title: &str, panels: &[Panel]) -> Result<()> {
    draw(path, x_title, panels).map_err(|err| anyhow!("{}: {err}", path.display()))
}

fn draw(path: &Path, x_title: &str, panels: &[Panel]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (WIDTH, PANEL_HEIGHT * panels.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (panel, area) in panels.iter().zip(root.split_evenly((panels.len(), 1))) {
        let points = || panel.curves.iter().flat_map(|(_, points)| points.iter());
        let x_max = points().map(|point| point.0).fold(0.0, f64::max);
        let y_max = points().map(|point| point.1).fold(0.0, f64::max) * 1.15;
        let mut chart = ChartBuilder::on(&area)
            .caption(&panel.title, ("sans-serif", 15))
            .margin(8)
            .x_label_area_size(32)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..x_max.max(1.0), 0.0..y_max.max(f64::MIN_POSITIVE))?;
        chart.configure_mesh().x_desc(x_title).light_line_style(WHITE).draw()?;
        for ((name, points), color) in panel.curves.iter().zip(COLORS.iter().cycle()) {
            let color = *color;
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
                .label(name.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        }
        chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK).draw()?;
    }
    root.present()?;
    Ok(())
}
