//! Small pictures of numbers, as SVG without styles of their own: the policy of the page forbids those.

use maud::{Markup, html};

const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 48.0;

/// Draws the values from left to right, the latest at the right edge; `label` says what they are.
pub(super) fn sparkline(label: &str, values: &[f64], most: Option<f64>) -> Markup {
    let top = most.unwrap_or_else(|| values.iter().copied().fold(0.0, f64::max)).max(f64::MIN_POSITIVE);
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let point = |(at, value): (usize, &f64)| {
        let y = HEIGHT - 2.0 - (value / top).clamp(0.0, 1.0) * (HEIGHT - 4.0);
        format!("{:.1},{y:.1}", at as f64 * step)
    };
    let points: Vec<_> = values.iter().enumerate().map(point).collect();
    let area = points.first().zip(points.last()).map(|(first, last)| {
        let x = |point: &str| point.split(',').next().unwrap_or_default().to_owned();
        format!("{},{HEIGHT} {} {},{HEIGHT}", x(first), points.join(" "), x(last))
    });
    html! {
        svg.spark viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(label) {
            line.base x1="0" x2=(WIDTH) y1=(HEIGHT - 1.0) y2=(HEIGHT - 1.0) {}
            @if values.len() > 1 {
                @if let Some(area) = area { polygon.area points=(area) {} }
                polyline.line points=(points.join(" ")) {}
            }
        }
    }
}

/// Draws ratios with equal distances from left to right, as a curve over the whole range from 0 to 1.
pub(super) fn curve(label: &str, ratios: &[f64]) -> Markup {
    const TOP: f64 = 6.0;
    let step = WIDTH / (ratios.len().max(2) - 1) as f64;
    let place = |(at, ratio): (usize, &f64)| (at as f64 * step, TOP + (1.0 - ratio.clamp(0.0, 1.0)) * (2.0 * HEIGHT - TOP));
    let places: Vec<_> = ratios.iter().enumerate().map(place).collect();
    let line = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    let bottom = 2.0 * HEIGHT;
    html! {
        svg.curve viewBox=(format!("0 0 {WIDTH} {bottom}")) preserveAspectRatio="none" role="img" aria-label=(label) {
            @for part in 0..=4 { @let y = TOP + f64::from(part) * (bottom - TOP) / 4.0; line.base x1="0" x2=(WIDTH) y1=(y) y2=(y) {} }
            polygon.area points=(format!("0,{bottom} {line} {WIDTH},{bottom}")) {}
            polyline.line points=(line) {}
        }
    }
}

/// Draws parts of a whole side by side; each with the name of its class and its number.
pub(super) fn shares(label: &str, parts: &[(&str, u64)]) -> Markup {
    let all = parts.iter().map(|(_, number)| number).sum::<u64>().max(1) as f64;
    let mut x = 0.0;
    html! {
        svg.shares viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.rest x="0" y="0" width="100" height="6" {}
            @for (class, number) in parts {
                @let width = *number as f64 / all * 100.0;
                @let at = x;
                rect class=(class) x=(format!("{at:.2}")) y="0" width=(format!("{width:.2}")) height="6" {}
                ({ x += width; "" })
            }
        }
    }
}
