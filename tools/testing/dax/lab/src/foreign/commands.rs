// SPDX-License-Identifier: GPL-2.0

//! Suites whose tests are commands: foreign.sh has put what they need on a disk.

use anyhow::{ensure, Context, Result};
use fs_err as fs;

use super::guests::{side, Suite};
use super::transcript::{Transcript, BEGIN, END, FINDING};
use super::{both, kernel, Progress};
use crate::console::WORDS;
use crate::ktap::Test;
use crate::lab::{Lab, Side};
use crate::qemu::Platform;
use crate::vm::{quote, Disk, Outcome, Vm};

#[derive(clap::Args)]
pub struct Args {
    /// Only these tests
    tests: Vec<String>,
}

/// What a suite asks for, and how its results are read.
pub struct Spec {
    /// Its folder in build/, where its disk is.
    pub name: &'static str,
    /// What builds it.
    pub make: &'static str,
    /// What the guest runs before the first test; the disk is /dev/vdb.
    pub setup: String,
    /// What it runs before each test.
    pub before: &'static str,
    /// What a test's guest has.
    pub platform: fn(&str) -> Platform,
    pub cpus: u32,
    /// Words for the kernel's command line.
    pub append: &'static str,
    /// Whether each test has a guest of its own.
    pub alone: bool,
    /// What runs if the user names no tests; nothing stands for all.
    pub default: &'static str,
    /// Seconds after which a test is ended. Meson gives those of ndctl 600 on a machine that is
    /// not emulated.
    pub limit: u64,
    /// Of what a test has printed, the line that says what became of it.
    pub told: fn(&[String]) -> String,
    /// Whether a test was not run: by its status, and by that line.
    pub skipped: fn(i32, &str) -> bool,
    /// Results in what a test has printed.
    pub parts: fn(&[String]) -> Vec<Test>,
}

impl Default for Spec {
    /// A status other than 0 is a failure, and a test has no parts.
    fn default() -> Self {
        Self {
            name: "",
            make: "",
            setup: String::new(),
            before: ":",
            platform: |_| Platform::Large,
            cpus: 2,
            append: "",
            alone: false,
            default: "",
            limit: 900,
            told: last,
            skipped: |_, _| false,
            parts: |_| Vec::new(),
        }
    }
}

/// The first line with one of these words: the first word that there is a line with. Without any,
/// the last line.
pub fn telling(lines: &[String], words: &[&str]) -> String {
    let mut lines_with = words
        .iter()
        .filter_map(|word| lines.iter().find(|line| line.contains(word)));
    lines_with.next().cloned().unwrap_or_else(|| last(lines))
}

/// A test's name, and a script.
pub struct Command {
    pub name: String,
    pub script: String,
}

/// The last line that is not a command which a shell with -x prints.
pub fn last(lines: &[String]) -> String {
    let line = lines.iter().rev().find(|line| !line.starts_with('+'));
    line.cloned().unwrap_or_default()
}

/// The tests that foreign.sh lists, or those of them that are named.
pub fn run(lab: &Lab, spec: &Spec, args: &Args) -> Result<u8> {
    let list = fs::read_to_string(lab.build(spec.name).join("tests"));
    let list = list.with_context(|| format!("{} makes it", spec.make))?;
    play(lab, spec, commands(&list), args)
}

/// Lines of a name and a command.
fn commands(list: &str) -> Vec<Command> {
    let commands = list.lines().filter_map(|line| {
        let (name, script) = line.split_once(char::is_whitespace)?;
        Some(Command {
            name: name.into(),
            script: script.trim().into(),
        })
    });
    commands.collect()
}

/// Runs commands on both kernels.
pub fn play(lab: &Lab, spec: &Spec, commands: Vec<Command>, args: &Args) -> Result<u8> {
    let only = args.tests.as_slice();
    for name in only {
        let known = commands.iter().any(|command| command.name == *name);
        ensure!(known, "{} has no test {name}", spec.name);
    }
    let wanted = |name: &String| match only {
        [] if spec.default.is_empty() => true,
        [] => spec.default.split_whitespace().any(|word| word == name),
        only => only.contains(name),
    };
    let names = commands.iter().map(|command| command.name.clone());
    let names: Vec<_> = names.filter(wanted).collect();
    let version = fs::read_to_string(lab.build(spec.name).join("version"))?;
    println!("{} {}, {} tests", spec.name, version.trim(), names.len());
    let suite = Commands {
        lab,
        spec,
        commands,
    };
    let progress = Progress::new(names.len());
    both(lab, spec.name, &names, &|kernel| {
        side(&suite, kernel, "", &names, &progress)
    })
}

struct Commands<'a> {
    lab: &'a Lab,
    spec: &'a Spec,
    commands: Vec<Command>,
}

impl Commands<'_> {
    /// Runs tests; what the kernel's log says of each follows its output.
    fn script(&self, tests: &[&Command]) -> String {
        let limit = self.spec.limit;
        let words: Vec<_> = WORDS
            .iter()
            .map(|word| format!("-e {}", quote(word)))
            .collect();
        let mut script = format!(
            "{}
run() {{
    {}
    dmesg -C
    echo \"lab: $1\" >/dev/kmsg
    echo \"{BEGIN}$1\"
    timeout -k 20 {limit} sh -c \"$2\" </dev/null 2>&1
    status=$?
    printf '\\n'
    dmesg | grep -m 1 -F {} | sed 's/^/{FINDING}/'
    echo \"{END}$status\"
}}
",
            self.spec.setup,
            self.spec.before,
            words.join(" ")
        );
        for test in tests {
            let (name, command) = (quote(&test.name), quote(&test.script));
            script += &format!("run {name} {command}\n");
        }
        script
    }
}

impl Suite for Commands<'_> {
    fn guest(
        &self,
        guest: &str,
        side: Side,
        tests: &[String],
        sink: &mut dyn FnMut(Test),
    ) -> Result<Outcome> {
        let spec = self.spec;
        let first = tests.first().context("no test to run")?;
        let tests = if spec.alone { &tests[..1] } else { tests };
        let find = |name: &String| self.commands.iter().find(|command| command.name == *name);
        let tests: Vec<_> = tests.iter().filter_map(find).collect();
        let guest = match spec.alone {
            true => format!("{}-{}-{first}", spec.name, side.name()),
            false => format!("{}-{guest}", spec.name),
        };
        let vm = Vm::new(self.lab, &guest.replace('/', "-"), &kernel(side), 0)
            .platform((spec.platform)(first))
            .cpus(spec.cpus)
            .append(spec.append.into())
            // A test that is killed may take its time.
            .silence(spec.limit + 120)
            .disks(vec![Disk {
                image: self.lab.build(spec.name).join(format!("{}.img", spec.name)),
                keep: false,
            }]);
        let mut transcript = Transcript::new(spec);
        let outcome = vm.run(&self.script(&tests), &mut |line| {
            transcript.line(line).into_iter().for_each(&mut *sink);
        })?;
        transcript.end().into_iter().for_each(sink);
        Ok(outcome)
    }

    fn begun(&self, outcome: &Outcome) -> Result<Option<String>> {
        let mut lines = outcome.output.iter().rev();
        Ok(lines.find_map(|line| line.strip_prefix(BEGIN).map(String::from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_commands() {
        let list = commands("madvise07 madvise07\nmtest01w mtest01 -p80 -w\n\nodd\n");
        let list: Vec<_> = list
            .iter()
            .map(|c| (c.name.as_str(), c.script.as_str()))
            .collect();
        assert_eq!(
            list,
            [("madvise07", "madvise07"), ("mtest01w", "mtest01 -p80 -w")]
        );
    }

    #[test]
    fn commands_of_a_shell_are_not_what_it_says() {
        let lines = ["it says", "+ exit 77", "++ false"].map(String::from);
        assert_eq!(last(&lines), "it says");
        assert_eq!(last(&[]), "");
    }
}
