//! The copies to one target as a bar chart.

use std::fmt::Write;

use super::common::data::DataSet;
use super::contender::Contender;
use super::report::{Copies, Report};

/// The picture's parts, in its own units: a column of names, and two of bars with their figures behind them.
const NAMES: f64 = 184.0;
const BARS: f64 = 210.0;
const FIGURE: f64 = 74.0;
const MARGIN: f64 = 16.0;
const ROW: f64 = 20.0;
const BAR: f64 = 13.0;
const HEADING: f64 = 30.0;

/// Readable on light and on dark ground, whichever the reader has.
const STYLE: &str = "\
text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px }
.quiet { fill: #59636e }
.own { font-weight: 600 }
.bar { fill: #8c959f }
.bar.own { fill: #0969da }
line { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.quiet { fill: #9198a1 }
.bar { fill: #656c76 }
.bar.own { fill: #4493f8 }
line { stroke: #3d444d }
}";

/// Draws it.
pub(crate) fn draw(report: &Report) -> String {
    let mut picture = Picture { body: String::new(), y: MARGIN };
    picture.headings();
    let sets = [DataSet::Random, DataSet::Json, DataSet::JsonZstd, DataSet::Small];
    for data in sets {
        let rows: Vec<&Copies> = Contender::ALL.iter().filter_map(|who| report.find(data, *who, 1)).collect();
        if !rows.is_empty() {
            picture.group(in_words(data), &rows);
        }
    }
    picture.finish()
}

const fn in_words(data: DataSet) -> &'static str {
    match data {
        DataSet::Random => "512 random bytes, uncompressed",
        DataSet::Json => "JSON with keys and a header, lz4",
        DataSet::JsonZstd => "JSON with keys and a header, zstd",
        DataSet::Small => "JSON, lz4, in batches of one to three records",
    }
}

/// Where the bars of a column begin.
fn column(index: u8) -> f64 {
    MARGIN + NAMES + f64::from(index) * (BARS + FIGURE + MARGIN)
}

struct Picture {
    body: String,
    /// What is drawn next is drawn below this.
    y: f64,
}

impl Picture {
    fn headings(&mut self) {
        let y = self.y + 12.0;
        for (index, title, better) in
            [(0, "records/s", "more is better"), (1, "CPU s per million records", "less is better")]
        {
            let x = column(index);
            let note = format!(r#"<tspan class="quiet" font-weight="400"> · {better}</tspan>"#);
            self.put(&format!(r#"<text class="title" x="{x}" y="{y}">{title}{note}</text>"#));
        }
        self.y += HEADING - 10.0;
    }

    fn group(&mut self, title: &str, rows: &[&Copies]) {
        let (right, y) = (width() - MARGIN, self.y + 4.0);
        self.put(&format!(r#"<line x1="{MARGIN}" y1="{y}" x2="{right}" y2="{y}"/>"#));
        self.put(&format!(r#"<text class="title" x="{MARGIN}" y="{}">{title}</text>"#, self.y + 21.0));
        self.y += HEADING;
        let most = |figure: fn(&Copies) -> f64| rows.iter().map(|row| figure(row)).fold(0.0, f64::max);
        let (fastest, dearest) = (most(Copies::speed), most(Copies::work));
        for row in rows {
            let own = matches!(row.contender, Contender::Records | Contender::Passthrough);
            let class = if own { "own" } else { "" };
            let y = self.y + 14.0;
            self.put(&format!(r#"<text class="{class}" x="{MARGIN}" y="{y}">{}</text>"#, row.contender.name()));
            let (speed, work) = (row.speed(), row.work());
            self.bar(0, class, speed / fastest, &grouped(speed));
            self.bar(1, class, work / dearest, &format!("{work:.2}"));
            self.y += ROW;
        }
        self.y += 10.0;
    }

    fn bar(&mut self, index: u8, class: &str, part: f64, figure: &str) {
        let (x, y, long) = (column(index), self.y + (ROW - BAR) / 2.0, (part * BARS).max(1.0));
        self.put(&format!(r#"<rect class="bar {class}" x="{x}" y="{y}" width="{long:.1}" height="{BAR}" rx="2"/>"#));
        let (x, y) = (x + long + 6.0, self.y + 14.0);
        self.put(&format!(r#"<text class="quiet" x="{x:.1}" y="{y}">{figure}</text>"#));
    }

    fn put(&mut self, element: &str) {
        writeln!(self.body, "{element}").unwrap();
    }

    fn finish(self) -> String {
        let (width, height) = (width(), self.y);
        let title = "anabranch and its peers: records a second, and CPU per record";
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n\
             <title>{title}</title>\n<style>\n{STYLE}\n</style>\n{}</svg>\n",
            self.body
        )
    }
}

fn width() -> f64 {
    column(2)
}

/// With a comma between thousands.
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
