//! Instructions that each kernel executes for a call, counted by callgrind: unlike times, the same
//! on a busy machine and an idle one.
//!
//! What is counted is the x86-64 code that wasmtime makes of the engine's relaxed kernels, with
//! epochs and for a fixed set of features, whatever the machine that counts has beyond AVX2.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{command, root, target, tools};

/// Share by which a kernel may execute more than `instructions.csv` says.
const TOLERANCE: f64 = 0.02;

/// Instructions of the kernel in the longer of two runs, about: their difference leaves out what
/// surrounds it, which varies by thousands.
const COUNTED: u64 = 20_000_000;

/// Features that the code may use.
const FEATURES: &[&str] = &[
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_fma",
    "has_bmi1",
    "has_bmi2",
    "has_lzcnt",
];

const HEADER: &str = "kernel,instructions";

/// Instructions of a call by the kernel's name.
type Counts = BTreeMap<String, u64>;

fn baseline_path() -> PathBuf {
    root().join("docs").join("benchmarks").join("instructions.csv")
}

/// Counts, and compares with the counts that were accepted; `accept` replaces these.
///
/// # Errors
/// A kernel executes more than before, or the kernels are others.
pub(crate) fn run(accept: bool) -> Result<()> {
    ensure!(
        cfg!(all(target_arch = "x86_64", target_os = "linux")),
        "instructions are counted on Linux on x86-64, which the accepted counts are for"
    );
    let has_valgrind = Command::new("valgrind").arg("--version").output();
    has_valgrind.context("valgrind is needed; on Debian: apt-get install valgrind")?;
    tools::rust()?;
    let wasmtime = tools::runtimes(&tools::npm()?)?.wasmtime;
    let program = build(&wasmtime)?;
    let mut counts = Counts::new();
    for kernel in kernels(&wasmtime, &program)? {
        let of = |calls| count(&wasmtime, &program, &kernel, calls);
        let one = of(1)?;
        let about = of(11)?.saturating_sub(one) / 10;
        let more = COUNTED.div_ceil(about.max(1000));
        let each = of(1 + more)?.saturating_sub(one) / more;
        println!("{each:>10}  {kernel}");
        counts.insert(kernel, each);
    }
    let path = baseline_path();
    if accept {
        let mut text = format!("{HEADER}\n");
        for (kernel, count) in &counts {
            let _ = writeln!(text, "{kernel},{count}");
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("{} written", path.display());
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let report = compare(&counts, &parse(&text).with_context(|| path.display().to_string())?);
    for line in &report.better {
        println!("better: {line}");
    }
    if report.worse.is_empty() {
        println!(
            "test result: ok. {} kernels execute no more than {:.0} % above the accepted counts",
            counts.len(),
            TOLERANCE * 100.0
        );
        return Ok(());
    }
    bail!(
        "{}\nIf this is meant, accept it: cargo xtask bench --instructions --accept",
        report.worse.join("\n")
    )
}

/// Builds the kernels as the engine `cpu-relaxed` has them, and compiles them ahead of time.
fn build(wasmtime: &Path) -> Result<PathBuf> {
    let folder = target().join("kernels");
    let mut build = Command::new("cargo");
    build.current_dir(root()).args(["build", "--locked", "--release", "--package"]);
    build.args(["trefoil-kernels", "--example", "kernel_work", "--target", "wasm32-wasip1"]);
    build.arg("--target-dir").arg(&folder);
    build.env("RUSTFLAGS", "-Ctarget-feature=+simd128,+relaxed-simd");
    command::run(&mut build)?;
    let module = folder.join("wasm32-wasip1/release/examples/kernel_work.wasm");
    let program = module.with_extension("cwasm");
    let features: Vec<_> = FEATURES.iter().map(|it| format!("cranelift-{it}=true")).collect();
    let mut compile = Command::new(wasmtime);
    compile.args(["compile", "--target", "x86_64-unknown-linux-gnu"]);
    compile.args(["-C", &features.join(","), "-W", "epoch-interruption=y", "-o"]);
    command::run_quietly(compile.arg(&program).arg(&module))?;
    Ok(program)
}

fn kernel_work(mut command: Command, program: &Path) -> Command {
    // With a time limit the epoch is what it is in Trefoil's host: looked at, and never reached.
    command.args(["run", "--allow-precompiled", "-W", "epoch-interruption=y,timeout=3600s"]);
    command.arg(program);
    command
}

fn kernels(wasmtime: &Path, program: &Path) -> Result<Vec<String>> {
    let output = kernel_work(Command::new(wasmtime), program).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(Into::into).collect())
}

/// Instructions of a whole run.
fn count(wasmtime: &Path, program: &Path, kernel: &str, calls: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(wasmtime);
    let mut valgrind = kernel_work(valgrind, program);
    valgrind.args([kernel, &calls.to_string()]);
    let output = valgrind.output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}:\n{text}", command::show(&valgrind));
    let total = text.lines().find_map(|line| line.split_once("Collected :"));
    let (_, total) = total.with_context(|| format!("callgrind counted nothing:\n{text}"))?;
    Ok(total.trim().parse()?)
}

fn parse(text: &str) -> Result<Counts> {
    let mut lines = text.lines();
    ensure!(lines.next() == Some(HEADER), "the first line is not `{HEADER}`");
    let row = |line: &str| {
        let (kernel, count) = line.rsplit_once(',')?;
        Some((kernel.to_owned(), count.parse().ok()?))
    };
    lines.map(|line| row(line).with_context(|| format!("`{line}` is no row"))).collect()
}

/// Kernels that differ, in words.
#[derive(Debug, Default, PartialEq)]
struct Report {
    worse: Vec<String>,
    better: Vec<String>,
}

fn compare(counts: &Counts, accepted: &Counts) -> Report {
    let mut report = Report::default();
    for (kernel, count) in counts {
        let Some(before) = accepted.get(kernel) else {
            report.worse.push(format!("`{kernel}` has no accepted count"));
            continue;
        };
        let change = *count as f64 / *before as f64 - 1.0;
        let line = format!("`{kernel}`: {count} instructions, {before} before");
        if change > TOLERANCE {
            report.worse.push(line);
        } else if change < -TOLERANCE {
            report.better.push(line);
        }
    }
    for kernel in accepted.keys().filter(|kernel| !counts.contains_key(*kernel)) {
        report.worse.push(format!("`{kernel}` has an accepted count, but is no kernel any more"));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_instructions_and_other_kernels_are_reported() {
        let counts = |rows: &[(&str, u64)]| -> Counts {
            rows.iter().map(|(kernel, count)| ((*kernel).to_owned(), *count)).collect()
        };
        let accepted = counts(&[("a", 1000), ("b", 1000), ("c", 1000), ("gone", 1)]);
        let found = counts(&[("a", 1019), ("b", 1021), ("c", 900), ("new", 5)]);
        let report = compare(&found, &accepted);
        assert_eq!(report.better, ["`c`: 900 instructions, 1000 before"]);
        assert_eq!(
            report.worse,
            [
                "`b`: 1021 instructions, 1000 before",
                "`new` has no accepted count",
                "`gone` has an accepted count, but is no kernel any more",
            ]
        );
    }

    #[test]
    fn the_accepted_counts_are_readable() -> Result<()> {
        let counts = parse(&std::fs::read_to_string(baseline_path())?)?;
        assert!(counts.contains_key("multiply Q4_1 x1"), "{counts:?}");
        assert!(parse("kernel,instructions\na;1\n").is_err());
        assert!(parse("a,1\n").is_err());
        Ok(())
    }
}
