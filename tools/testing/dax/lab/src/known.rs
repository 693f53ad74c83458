// SPDX-License-Identifier: GPL-2.0

//! The names that a user may ask for: scenes, as `dax-probe` lists them, and suites.

use anyhow::{bail, Context, Result};
use clap::ValueEnum;

use crate::suites::{self, scenes};

/// The suite of this name.
pub fn suite(name: &str) -> Result<suites::Name> {
    suites::Name::from_str(name, false).ok().with_context(|| {
        let names: Vec<_> = suites::Name::value_variants().iter().map(label).collect();
        format!("no suite {name:?}: there are {}", names.join(", "))
    })
}

pub fn suites(names: &[String]) -> Result<Vec<suites::Name>> {
    names.iter().map(|name| suite(name)).collect()
}

fn label(suite: &suites::Name) -> String {
    let value = suite.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().into())
}

/// A line for each suite.
pub fn suite_lines() -> Vec<String> {
    let line = |suite: &suites::Name| {
        let value = suite.to_possible_value();
        let about = value.as_ref().and_then(|value| value.get_help());
        let about = about.map(ToString::to_string).unwrap_or_default();
        format!("    {:18} {about}", label(suite))
    };
    suites::Name::value_variants().iter().map(line).collect()
}

/// The lines of `dax-probe scenes --list`: all, or those of the scenes with these names or
/// numbers.
pub fn scene_lines(wanted: &[String]) -> Result<Vec<String>> {
    pick(&scenes::list_text()?, wanted)
}

fn pick(text: &str, wanted: &[String]) -> Result<Vec<String>> {
    if wanted.is_empty() {
        return Ok(text.lines().map(Into::into).collect());
    }
    let find = |name: &String| {
        let is = |line: &&str| line.split_whitespace().take(2).any(|word| word == name);
        match text.lines().find(is) {
            Some(line) => Ok(line.into()),
            None => bail!("no scene {name:?}: {}", similar(text, name)),
        }
    };
    wanted.iter().map(find).collect()
}

/// Scenes with a part of this name.
fn similar(text: &str, name: &str) -> String {
    let names = || {
        text.lines()
            .filter_map(|line| line.split_whitespace().nth(1))
    };
    let parts: Vec<_> = name.split('-').filter(|part| part.len() > 2).collect();
    let near = |other: &&str| {
        parts
            .iter()
            .any(|part| other.contains(part.get(..4).unwrap_or(part)))
    };
    let near: Vec<_> = names().filter(near).collect();
    let all = names().count();
    match near[..] {
        [] => format!("make list shows all {all}"),
        _ => format!("there are {}; make list shows all {all}", near.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "  2 shared        a block that three files share\n \
                        40 heal-shared   a shared block that is written\n 71 scrub-free    a free block (nfit)\n";

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn scenes_by_name_and_number() {
        assert_eq!(pick(LIST, &[]).unwrap().len(), 3);
        let lines = pick(LIST, &strings(&["40", "shared"])).unwrap();
        assert!(lines[0].contains("heal-shared") && lines[1].contains(" shared "));
    }

    #[test]
    fn a_name_that_no_scene_has() {
        let why = |name| pick(LIST, &strings(&[name])).unwrap_err().to_string();
        assert_eq!(
            why("sharing"),
            r#"no scene "sharing": there are shared, heal-shared; make list shows all 3"#
        );
        assert_eq!(why("x"), r#"no scene "x": make list shows all 3"#);
        // A word of the text is no name.
        assert_eq!(why("three"), r#"no scene "three": make list shows all 3"#);
    }

    #[test]
    fn a_name_that_no_suite_has() {
        assert!(suite("lint").is_ok());
        let why = suite("lunt").unwrap_err().to_string();
        assert!(
            why.starts_with(r#"no suite "lunt": there are host, kunit, "#),
            "{why}"
        );
    }
}
