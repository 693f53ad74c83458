// SPDX-License-Identifier: GPL-2.0

//! The window of a race, held open: the first task that gets to a function of the kernel waits
//! there (tools/testing/lab/window).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kernel::until;
use crate::xfs::run;

const MODULE: &str = "/lab/window.ko";
const PARAMETERS: &str = "/sys/module/window/parameters";
/// Longer than any way to the function.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Window(());

impl Window {
    /// Has the first task that calls `function` from now on wait.
    pub fn at(function: &str) -> Result<Self> {
        if !Path::new(PARAMETERS).exists() {
            run(Command::new("insmod").arg(MODULE))?;
        }
        set("function", function)?;
        Ok(Self(()))
    }

    /// Waits until a task waits there.
    pub fn wait(&self) -> Result<()> {
        let waits = until(PATIENCE, Duration::from_millis(5), || {
            Ok(get("waiting")? == "1")
        })?;
        ensure!(waits, "no task gets to the window");
        Ok(())
    }

    /// Lets it go. Whether it still waited.
    pub fn go(self) -> Result<bool> {
        let waited = get("waiting")? == "1";
        set("go", "1")?;
        Ok(waited)
    }
}

/// How often the function of the last window was called.
pub fn hits() -> Result<String> {
    get("hits")
}

impl Drop for Window {
    fn drop(&mut self) {
        // Best effort.
        let _ = set("go", "1");
    }
}

fn get(parameter: &str) -> Result<String> {
    let path = format!("{PARAMETERS}/{parameter}");
    Ok(fs::read_to_string(&path).context(path)?.trim().into())
}

fn set(parameter: &str, value: &str) -> Result<()> {
    let path = format!("{PARAMETERS}/{parameter}");
    fs::write(&path, value).with_context(|| format!("{value} > {path}"))
}
