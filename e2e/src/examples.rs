//! The examples under `crds/examples`: good ones, and bad ones beside the sentence that refuses them.
//! It reads files; it judges nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use terrace_crds::yaml::from_yaml;

/// One bad document, what it changes (for a rule about changes), and the sentence that must refuse it.
pub struct Bad {
    /// File and number of the document, for people.
    pub name: String,
    /// What is there before, where the rule is about a change.
    pub before: Option<DynamicObject>,
    /// What is asked for.
    pub asked: DynamicObject,
    /// What the API server must answer.
    pub sentence: String,
}

/// Every good document, with the name of its file.
///
/// # Errors
/// Where a file cannot be read or is no YAML.
pub fn good() -> Result<Vec<(String, DynamicObject)>> {
    let mut found = Vec::new();
    for path in files("good")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.extend(documents(&path)?.into_iter().map(|document| (name.clone(), document)));
    }
    Ok(found)
}

/// Every bad document. The n-th line of `NAME.err` belongs to the n-th document of `NAME.yaml`.
///
/// # Errors
/// Where a file is missing, cannot be read, or documents and sentences differ in number.
pub fn bad() -> Result<Vec<Bad>> {
    let mut found = Vec::new();
    for path in files("bad")? {
        let before_path = path.with_extension("before.yaml");
        let before = match before_path.exists() {
            true => documents(&before_path)?.pop(),
            false => None,
        };
        let asked = documents(&path)?;
        let said = path.with_extension("err");
        let sentences =
            fs::read_to_string(&said).with_context(|| format!("read {}", said.display()))?;
        let sentences: Vec<&str> = sentences.lines().collect();
        ensure!(
            sentences.len() == asked.len(),
            "{}: {} sentences for {} documents",
            said.display(),
            sentences.len(),
            asked.len()
        );
        for (number, (asked, sentence)) in asked.into_iter().zip(sentences).enumerate() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = format!("{name}, document {}", number + 1);
            found.push(Bad { name, before: before.clone(), asked, sentence: sentence.to_owned() });
        }
    }
    Ok(found)
}

fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = crate::rig::repository().join("crds/examples").join(folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(".yaml") && !name.ends_with(".before.yaml") {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "{} has no examples", folder.display());
    Ok(found)
}

fn documents(path: &Path) -> Result<Vec<DynamicObject>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    from_yaml(&text).with_context(|| format!("parse {}", path.display()))
}
