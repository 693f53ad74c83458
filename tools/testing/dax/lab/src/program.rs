// SPDX-License-Identifier: GPL-2.0

//! Other programs that are run to their end.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use fs_err as fs;

/// What a program prints. If it fails, the error is the last line that it said on stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let said = command.stdin(Stdio::null()).output();
    let said = said.with_context(|| name.clone())?;
    if !said.status.success() {
        let text = String::from_utf8_lossy(&said.stderr);
        match text.trim().lines().last() {
            Some(why) => bail!("{name}: {why}"),
            None => bail!("{name}: {}", said.status),
        }
    }
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// Lines, and when each was printed.
pub type Timed = Vec<(Duration, String)>;

/// What a program prints, how it ends or not. All that it says is in the file `log`, too.
pub fn timed(command: &mut Command, log: &Path) -> Result<(ExitStatus, Timed)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut log = fs::File::create(log)?;
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let begin = Instant::now();
    let child = command.stderr(log.file().try_clone()?).spawn();
    let mut child = child.with_context(|| name.clone())?;
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().context(name)?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(log, "{line}")?;
        lines.push((begin.elapsed(), line));
    }
    Ok((child.wait()?, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Result<String> {
        output(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_failure_says_why() {
        assert_eq!(sh("echo a; echo b >&2").unwrap(), "a\n");
        let why = |script| sh(script).unwrap_err().to_string();
        assert_eq!(why("echo a; echo c >&2; echo b >&2; false"), "sh: b");
        assert_eq!(why("exit 3"), "sh: exit status: 3");
    }
}
