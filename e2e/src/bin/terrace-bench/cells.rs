//! What is measured: four patterns of access, the words that ask fio for one, and what fio reports. Pure.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A pattern of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    RandomRead,
    RandomWrite,
    SequentialRead,
    SequentialWrite,
}

impl Cell {
    pub(crate) const ALL: [Self; 4] =
        [Self::RandomRead, Self::RandomWrite, Self::SequentialRead, Self::SequentialWrite];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RandomRead => "4 KiB random read",
            Self::RandomWrite => "4 KiB random write",
            Self::SequentialRead => "1 MiB sequential read",
            Self::SequentialWrite => "1 MiB sequential write",
        }
    }

    /// fio's name of the pattern, block size and queue depth.
    const fn pattern(self) -> (&'static str, &'static str, u32) {
        match self {
            Self::RandomRead => ("randread", "4k", 16),
            Self::RandomWrite => ("randwrite", "4k", 16),
            Self::SequentialRead => ("read", "1m", 4),
            Self::SequentialWrite => ("write", "1m", 4),
        }
    }

    /// Which half of fio's report counts.
    const fn direction(self) -> &'static str {
        match self {
            Self::RandomRead | Self::SequentialRead => "read",
            Self::RandomWrite | Self::SequentialWrite => "write",
        }
    }
}

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) seconds: u32,
    pub(crate) size_mib: u32,
}

/// Writes the whole file once, without preallocation: afterwards both sides have written blocks in the same order.
pub(crate) fn lay_out_words(file: &str, extent: Extent) -> Vec<String> {
    let mut words = words_for(file, extent, ("write", "1m", 4));
    words.push("--end_fsync=1".into());
    words
}

/// One measurement. The seed is the pair's: both sides get the same offsets, another pair gets others.
pub(crate) fn measure_words(cell: Cell, file: &str, extent: Extent, pair: usize) -> Vec<String> {
    let mut words = words_for(file, extent, cell.pattern());
    words.extend([
        "--time_based".into(),
        format!("--runtime={}", extent.seconds),
        "--ramp_time=500ms".into(),
        "--norandommap".into(),
        format!("--randseed={}", pair + 1),
    ]);
    words
}

fn words_for(
    file: &str,
    extent: Extent,
    (pattern, block, depth): (&str, &str, u32),
) -> Vec<String> {
    vec![
        "fio".into(),
        "--name=cell".into(),
        format!("--filename={file}"),
        format!("--size={}m", extent.size_mib),
        format!("--rw={pattern}"),
        format!("--bs={block}"),
        format!("--iodepth={depth}"),
        "--ioengine=libaio".into(),
        "--direct=1".into(),
        "--fallocate=none".into(),
        "--output-format=json".into(),
    ]
}

/// What one run achieved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    pub(crate) bytes_per_second: f64,
    pub(crate) operations_per_second: f64,
}

/// Reads fio's report. Notes may stand before the JSON.
///
/// # Errors
/// Where it is no report, or a report of failed I/O.
pub(crate) fn parse_report(cell: Cell, text: &str) -> Result<Figure> {
    let start = text.find('{').context("fio printed no JSON")?;
    let report: Value = serde_json::from_str(text.get(start..).unwrap_or_default())?;
    let job = &report["jobs"][0];
    ensure!(job["error"] == 0, "fio met an error: {}", job["error"]);
    let number = |key: &str| job[cell.direction()][key].as_f64();
    let figure = Figure {
        bytes_per_second: number("bw_bytes").context("fio's report has no bw_bytes")?,
        operations_per_second: number("iops").context("fio's report has no iops")?,
    };
    ensure!(figure.bytes_per_second > 0.0, "fio moved no byte");
    Ok(figure)
}

#[cfg(test)]
mod tests {
    use super::{Cell, Extent, Figure, measure_words, parse_report};

    const REPORT: &str = r#"note: both iodepth >= 1 and synchronous I/O engine are selected
{"fio version": "fio-3.33", "jobs": [{"jobname": "cell", "error": 0,
 "read": {"bw_bytes": 409600, "iops": 100.0}, "write": {"bw_bytes": 0, "iops": 0.0}}]}"#;

    #[test]
    fn the_half_of_the_report_that_was_asked_for_is_read() {
        let found = parse_report(Cell::RandomRead, REPORT).unwrap();
        assert_eq!(found, Figure { bytes_per_second: 409600.0, operations_per_second: 100.0 });
        assert_eq!(
            parse_report(Cell::RandomWrite, REPORT).unwrap_err().to_string(),
            "fio moved no byte"
        );
    }

    #[test]
    fn failed_io_is_no_figure() {
        let failed = REPORT.replace("\"error\": 0", "\"error\": 5");
        assert!(parse_report(Cell::RandomRead, &failed).unwrap_err().to_string().contains('5'));
        assert!(parse_report(Cell::RandomRead, "fio: file too big").is_err());
    }

    #[test]
    fn the_two_sides_differ_in_the_file_alone() {
        let extent = Extent { seconds: 3, size_mib: 512 };
        let of = |file| measure_words(Cell::RandomWrite, file, extent, 0);
        let (raw, claim) = (of("/raw"), of("/claim"));
        let other: Vec<_> = raw.iter().zip(&claim).filter(|(one, two)| one != two).collect();
        assert_eq!(other, [(&"--filename=/raw".to_owned(), &"--filename=/claim".to_owned())]);
        for word in ["--direct=1", "--rw=randwrite", "--bs=4k", "--iodepth=16", "--size=512m"] {
            assert!(raw.iter().any(|one| one == word), "{word} in {raw:?}");
        }
    }
}
