//! Results for people: a table, CSV by date and machine, a plot.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Measured;
use super::targets::{Bound, Row, median};
use crate::root;

/// Tests in the plot.
const PLOTTED: &[(&str, &str)] = &[
    ("pp128", "prefill 128"),
    ("pp512", "prefill 512"),
    ("tg128", "decode"),
    ("tg128@2048", "decode at 2048"),
];

/// What README.md quotes stands between these.
const BEGIN: &str = "<!-- benchmarks: written by `cargo xtask bench` -->";
const END: &str = "<!-- end of benchmarks -->";

fn folder() -> PathBuf {
    root().join("docs").join("benchmarks")
}

/// Targets with what was measured.
fn targets(rows: &[Row]) -> String {
    let mut text = String::from("| ratio of medians | target | measured | |\n|---|---|---|---|\n");
    for row in rows {
        let bound = match row.bound {
            Bound::AtLeast(bound) => format!("≥ {bound}"),
            Bound::AtMost(bound) => format!("≤ {bound}"),
        };
        let reached = if row.is_reached() { "reached" } else { "not reached" };
        let _ = writeln!(text, "| {} | {bound} | {:.2} | {reached} |", row.what, row.ratio);
    }
    text
}

/// Targets, then medians of everything.
pub(crate) fn table(measured: &Measured, rows: &[Row], rounds: u32) -> String {
    let mut text = targets(rows);
    let tests: BTreeSet<_> = measured.keys().map(|(_, test)| test.as_str()).collect();
    let programs: BTreeSet<_> = measured.keys().map(|(program, _)| program.as_str()).collect();
    let _ = write!(text, "\n| median of {rounds} rounds |");
    for program in &programs {
        let _ = write!(text, " {program} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(programs.len()));
    for test in tests {
        let _ = write!(text, "| {} |", named(test));
        for program in &programs {
            let values = measured.get(&((*program).to_owned(), test.to_owned()));
            let _ = match values {
                Some(values) => write!(text, " {} |", shown(test, median(values))),
                None => write!(text, " |"),
            };
        }
        text.push('\n');
    }
    text
}

fn named(test: &str) -> String {
    match test {
        "load_ms" => "load, ms".into(),
        "first_token_ms" => "start to first token, ms".into(),
        "anonymous_memory_bytes" => "anonymous memory, MiB".into(),
        "renderer_bytes" => "peak memory of the page, MiB".into(),
        "memory_read_bytes_per_s" => "memory read, 1 thread, GB/s".into(),
        "weight_bytes_per_token" => "weights read per token, MB".into(),
        speed => format!("{speed}, tokens/s"),
    }
}

fn shown(test: &str, value: f64) -> String {
    match test {
        "anonymous_memory_bytes" | "renderer_bytes" => format!("{:.0}", value / 1_048_576.0),
        "memory_read_bytes_per_s" => format!("{:.1}", value / 1e9),
        "weight_bytes_per_token" => format!("{:.1}", value / 1e6),
        _ => format!("{value:.1}"),
    }
}

fn csv(measured: &Measured) -> String {
    let mut csv = String::from("program,test,median,values\n");
    for ((program, test), values) in measured {
        let list: Vec<_> = values.iter().map(f64::to_string).collect();
        let _ = writeln!(csv, "\"{program}\",\"{test}\",{},{}", median(values), list.join(" "));
    }
    csv
}

/// Writes CSV and table of the page beside wllama.
pub(crate) fn write_web(measured: &Measured, rows: &[Row], rounds: u32) -> Result<()> {
    let (folder, date, machine) = (folder(), date()?, machine());
    let name = format!("{date}-{}-web.csv", machine.file);
    std::fs::write(folder.join(&name), csv(measured))?;
    let page = format!(
        "# In the browser\n\n`cargo xtask bench --web` wrote this on {date}: SmolLM2-135M in Q4_1 in \
         headless Chromium, {rounds} rounds, each program in a fresh browser, one after another in \
         each round, on {} ({} cores, {}). With one worker the page has no special headers, with two \
         it is cross-origin isolated. From the start of loading to the first token is a first visit: \
         the model comes from a server on the same machine. Memory is that of the renderer (PSS), less \
         what an empty page has. wllama is version 3.8.1 without WebGPU. All values: \
         [{name}]({name}).\n\n{}",
        machine.processor,
        machine.cores,
        std::env::consts::OS,
        table(measured, rows, rounds)
    );
    std::fs::write(folder.join("web.md"), page)?;
    println!("\nwrote {}", folder.join("web.md").display());
    Ok(())
}

/// Writes CSV, plot and table.
pub(crate) fn write(measured: &Measured, rows: &[Row], rounds: u32) -> Result<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let (date, machine) = (date()?, machine());
    let name = format!("{date}-{}.csv", machine.file);
    std::fs::write(folder.join(&name), csv(measured))?;
    std::fs::write(folder.join("smollm2-135m.svg"), plot(measured))?;
    let page = format!(
        "# Benchmarks\n\n`cargo xtask bench` wrote this on {date}: SmolLM2-135M in Q4_1 (and where \
         it says so Gemma 3 270M in Q4_K_M), {rounds} rounds, the programs one after another in each round, on {} ({} cores, {}). Engine \
         `cpu-relaxed`, epoch interruption on. llama.cpp is that of `llama-cpp-python` 0.3.36, \
         built for this processor, flash attention off; its \
         time to the first token leaves out the start of Python. Of servers, with all processors and \
         their own defaults, the tokens of all answers are counted, 128 each. All values: [{name}]({name}). \
         [In the browser](web.md), beside wllama.\n\n\
         ![Speeds](smollm2-135m.svg)\n\n{}",
        machine.processor,
        machine.cores,
        std::env::consts::OS,
        table(measured, rows, rounds)
    );
    std::fs::write(folder.join("README.md"), page)?;
    let readme = root().join("README.md");
    let text = std::fs::read_to_string(&readme)?;
    std::fs::write(readme, with_targets(&text, &targets(rows))?)?;
    println!("\nwrote {}", folder.display());
    Ok(())
}

/// The README with another table between its marks.
fn with_targets(readme: &str, targets: &str) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).context("README.md has lost its mark")?;
    let (_, after) = rest.split_once(END).context("README.md has lost its second mark")?;
    Ok(format!("{before}{BEGIN}\n{targets}{END}{after}"))
}

struct Machine {
    processor: String,
    cores: usize,
    /// The processor's name as part of a file's name.
    file: String,
}

fn machine() -> Machine {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let processor = name.map_or_else(|| std::env::consts::ARCH.to_owned(), |it| it.trim().into());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let file = format!("{}-{cores}", processor.chars().map(word).collect::<String>());
    Machine { processor, cores, file }
}

/// Today in UTC, as year-month-day.
fn date() -> Result<String> {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    // Days to a date (Hinnant, "chrono-compatible low-level date algorithms").
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Ok(format!("{year:04}-{month:02}-{day:02}"))
}

/// Bars in groups, one group for each test.
fn plot(measured: &Measured) -> String {
    const COLOURS: &[&str] = &["#2e7d32", "#81c784", "#1565c0", "#90caf9", "#9e9e9e"];
    const ORDER: &[&str] = &[
        "Trefoil, 1 instance",
        "Trefoil, 2 instances",
        "llama.cpp, 1 thread",
        "llama.cpp, 2 threads",
        "candle, 1 thread",
    ];
    let value = |program: &str, test: &str| {
        let values = measured.get(&(program.to_owned(), test.to_owned()));
        values.map_or(0.0, |values| median(values))
    };
    let most = PLOTTED
        .iter()
        .flat_map(|(test, _)| ORDER.iter().map(|program| value(program, test)))
        .fold(1.0, f64::max);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"330\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"330\" fill=\"white\"/>\n\
         <text x=\"20\" y=\"20\">tokens per second, SmolLM2-135M Q4_1 (higher is better)</text>\n",
    );
    for (group, (test, label)) in PLOTTED.iter().enumerate() {
        let left = 20 + 185 * group;
        for (index, program) in ORDER.iter().enumerate() {
            let value = value(program, test);
            let height = 200.0 * value / most;
            let (x, y) = (left + 33 * index, 250.0 - height);
            let colour = COLOURS[index];
            if value > 0.0 {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y:.1}\" width=\"28\" height=\"{height:.1}\" \
                     fill=\"{colour}\"/>\n<text x=\"{}\" y=\"{:.1}\" text-anchor=\"middle\" \
                     font-size=\"10\">{value:.0}</text>",
                    x + 14,
                    y - 3.0
                );
            }
        }
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"268\">{label}</text>");
    }
    for (index, program) in ORDER.iter().enumerate() {
        let x = 20 + 148 * index;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"295\" width=\"12\" height=\"12\" fill=\"{}\"/>\n\
             <text x=\"{}\" y=\"305\">{program}</text>",
            COLOURS[index],
            x + 17
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readme_quotes_the_table_of_the_last_run() {
        let read = |path: PathBuf| std::fs::read_to_string(path).expect("is there");
        let page = read(folder().join("README.md"));
        let is_row = |line: &&str| line.starts_with('|');
        let rows = page.lines().skip_while(|line| !is_row(line)).take_while(is_row);
        let table: String = rows.flat_map(|line| [line, "\n"]).collect();
        assert!(table.lines().count() > 10, "{table}");
        let readme = read(root().join("README.md"));
        assert_eq!(with_targets(&readme, &table).expect("marks"), readme);
    }

    #[test]
    fn what_stands_around_the_table_stays() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let changed = with_targets(&readme, "new\n").expect("marks");
        assert_eq!(changed, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert!(with_targets("no marks", "new").is_err());
    }
}
