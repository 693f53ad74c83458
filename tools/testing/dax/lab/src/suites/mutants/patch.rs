// SPDX-License-Identifier: GPL-2.0

//! The patches that put faults into the series: a few lines that say what a patch does, then a
//! diff.
//!
//! ```text
//! What: the page stays mapped
//! Scenes: shared, late
//! Nfit: scrub-mapped
//! Cxl: cxl-event
//! Survives: why no test can tell, if none can
//! ```
//!
//! `Debug:` in the place of all these has the fault put into the debug kernel, and names scenes that
//! only that plays; `Debug-cxl:` those with CXL memory devices.
//!
//! A line that begins with a space goes on with what the one before it says.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use fs_err as fs;

use crate::lab::Lab;
use crate::qemu::Platform;

/// The kernel that has the fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flavour {
    #[default]
    Patched,
    Debug,
}

impl Flavour {
    /// As kernel.sh has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Patched => "patched",
            Self::Debug => "debug",
        }
    }

    /// Its build directory.
    pub fn out(self, lab: &Lab) -> PathBuf {
        lab.build("kernels").join(self.name())
    }
}

/// A fault that a person could make.
#[derive(Debug, Default)]
pub struct Mutant {
    pub name: String,
    pub path: PathBuf,
    pub what: String,
    pub flavour: Flavour,
    /// Scenes that should notice, on each platform.
    legacy: Vec<String>,
    nfit: Vec<String>,
    cxl: Vec<String>,
    /// Why none does, if that is known.
    pub survives: Option<String>,
    /// What it changes.
    pub files: Vec<String>,
}

impl Mutant {
    fn parse(path: &Path, text: &str) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut mutant = Self {
            name: name.into(),
            path: path.into(),
            ..Self::default()
        };
        let list = |value: &str| {
            let names = value.split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty());
            names.map(String::from).collect()
        };
        let (mut debug, mut debug_cxl) = (Vec::new(), Vec::new());
        for (key, value) in head(text)? {
            match key.as_str() {
                "What" => mutant.what = value,
                "Scenes" => mutant.legacy = list(&value),
                "Nfit" => mutant.nfit = list(&value),
                "Cxl" => mutant.cxl = list(&value),
                "Debug" => {
                    mutant.flavour = Flavour::Debug;
                    debug = list(&value);
                }
                "Debug-cxl" => {
                    mutant.flavour = Flavour::Debug;
                    debug_cxl = list(&value);
                }
                "Survives" => mutant.survives = Some(value),
                _ => bail!("{key}: is not known"),
            }
        }
        if mutant.flavour == Flavour::Debug {
            ensure!(
                mutant.names_none(),
                "Debug: is beside Scenes:, Nfit: or Cxl:"
            );
            mutant.legacy = debug;
            mutant.cxl = debug_cxl;
        }
        let files = text.lines().filter_map(|line| line.strip_prefix("+++ b/"));
        mutant.files.extend(files.map(String::from));
        ensure!(!mutant.what.is_empty(), "What: is missing");
        ensure!(!mutant.names_none(), "no scene is named");
        Ok(mutant)
    }

    fn names_none(&self) -> bool {
        let lists = [&self.legacy, &self.nfit, &self.cxl];
        lists.iter().all(|list| list.is_empty())
    }

    /// Those that should notice, on a platform.
    pub fn scenes(&self, platform: Platform) -> &[String] {
        match platform {
            Platform::Nfit => &self.nfit,
            Platform::Cxl => &self.cxl,
            _ => &self.legacy,
        }
    }
}

/// What comes before the diff: keys and values.
fn head(text: &str) -> Result<Vec<(String, String)>> {
    let (head, _) = text.split_once("\n--- ").context("there is no diff")?;
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in head.lines().filter(|line| !line.trim().is_empty()) {
        if let (Some((_, value)), true) = (fields.last_mut(), line.starts_with(' ')) {
            *value += " ";
            *value += line.trim();
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.into(), value.trim().into()));
        } else {
            bail!("{line:?} is no line of a mutant's head");
        }
    }
    Ok(fields)
}

/// The patches of a folder in the order of their names, or those whose names begin with one of
/// `only`.
pub fn all(dir: &Path, only: &[String]) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ext| ext != "patch") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let mutant = Mutant::parse(&path, &text).with_context(|| path.display().to_string())?;
        mutants.push(mutant);
    }
    for name in only {
        let found = mutants.iter().any(|m| m.name.starts_with(name.as_str()));
        ensure!(found, "no mutant {name} in {}", dir.display());
    }
    mutants
        .retain(|m| only.is_empty() || only.iter().any(|name| m.name.starts_with(name.as_str())));
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!mutants.is_empty(), "no mutants in {}", dir.display());
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head() {
        let text = "What: nothing is\n unmapped\nScenes: a, b\nNfit: c\n\n--- a/x\n+++ b/x\n";
        let mutant = Mutant::parse(Path::new("x/01-a.patch"), text).unwrap();
        assert_eq!(mutant.name, "01-a");
        assert_eq!(mutant.what, "nothing is unmapped");
        assert_eq!(mutant.scenes(Platform::Legacy), ["a", "b"]);
        assert_eq!(mutant.scenes(Platform::Nfit), ["c"]);
        assert!(mutant.survives.is_none());
        assert_eq!(mutant.files, ["x"]);
    }

    #[test]
    fn a_head_of_the_debug_kernel() {
        let text = "What: x\nDebug: a\n\n--- a/x\n+++ b/x\n";
        let mutant = Mutant::parse(Path::new("x/01-a.patch"), text).unwrap();
        assert_eq!(mutant.flavour, Flavour::Debug);
        assert_eq!(mutant.scenes(Platform::Legacy), ["a"]);
    }

    #[test]
    fn what_is_no_head() {
        for text in [
            "What: x\nScenes: a\n",
            "What: x\n\n--- a/x\n",
            "Scenes: a\n\n--- a/x\n",
            "What: x\nScene: a\n\n--- a/x\n",
            "What: x\nScenes: a\nsomething\n\n--- a/x\n",
            "What: x\nScenes: a\nDebug: b\n\n--- a/x\n",
        ] {
            assert!(Mutant::parse(Path::new("x.patch"), text).is_err(), "{text}");
        }
    }
}
