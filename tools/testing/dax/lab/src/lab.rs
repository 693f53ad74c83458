// SPDX-License-Identifier: GPL-2.0

//! Where things are.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use anyhow::{bail, ensure, Result};
use fs_err as fs;

use crate::results::Run;

/// MiB that must be available for two guests, each of which fills half of what it is
/// given, beside a build.
const MEMORY_FOR_TWO: u64 = 10 << 10;

/// What runs in the guest.
const PROGRAMS: [&str; 2] = ["dax-probe", "dax-owners"];

/// The repository and its build directory.
pub struct Lab {
    pub top: PathBuf,
    run: OnceLock<Run>,
    /// Held while the run begins.
    begins: Mutex<()>,
}

/// Which kernel, where two are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Stock,
    Patched,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Patched => "patched",
        }
    }
}

impl Lab {
    /// The repository that LAB_TOP names, or that this program or the working
    /// directory lies in.
    pub fn find() -> Result<Self> {
        if let Some(top) = env::var_os("LAB_TOP") {
            return Ok(Self::at(top.into()));
        }
        let places = [env::current_exe()?, env::current_dir()?];
        let is_top = |dir: &&Path| dir.join("tools/testing/lab").is_dir();
        match places.iter().flat_map(|p| p.ancestors()).find(is_top) {
            Some(top) => Ok(Self::at(top.into())),
            None => bail!("run this inside the repository, or set LAB_TOP"),
        }
    }

    pub fn at(top: PathBuf) -> Self {
        Self {
            top,
            run: OnceLock::new(),
            begins: Mutex::default(),
        }
    }

    /// This run's results: it begins with the first that asks.
    pub fn run(&self) -> Result<&Run> {
        let _one = self.begins.lock();
        if let Some(run) = self.run.get() {
            return Ok(run);
        }
        let run = Run::new(&self.top)?;
        Ok(self.run.get_or_init(|| run))
    }

    /// How many guests this machine has room for, two at most: more would not be faster
    /// on the two CPUs that each has.
    pub fn guests_at_a_time() -> usize {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        1 + usize::from(available(&text) >= MEMORY_FOR_TWO)
    }

    pub fn build(&self, path: &str) -> PathBuf {
        self.top.join("build").join(path)
    }

    /// A script of the lab.
    pub fn script(&self, name: &str) -> PathBuf {
        self.top.join("tools/testing/lab").join(name)
    }

    /// The program that plays scenes in the guest.
    pub fn probe() -> Result<PathBuf> {
        Self::program(PROGRAMS[0])
    }

    /// A program for the guest, which was built beside this one.
    fn program(name: &str) -> Result<PathBuf> {
        let program = env::current_exe()?.with_file_name(name);
        let there = program.is_file();
        ensure!(there, "{} is missing: make tools", program.display());
        Ok(program)
    }

    /// The bootable image in a kernel's build directory.
    pub fn image(&self, kernel: &Path) -> Result<PathBuf> {
        let kernel = self.top.join(kernel);
        let image = if kernel.is_dir() {
            kernel.join("arch/x86/boot/bzImage")
        } else {
            kernel
        };
        ensure!(
            image.is_file(),
            "no kernel at {}: make kernel",
            image.display()
        );
        Ok(image)
    }

    /// Puts the programs that were built beside this one into the guest's share.
    pub fn install_programs(&self) -> Result<()> {
        // Of two at once, one would take the other's new file away.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock();
        let bin = self.build("guest/bin");
        fs::create_dir_all(&bin)?;
        for name in PROGRAMS {
            let built = Self::program(name)?;
            // A guest that boots may be copying it.
            let installed = bin.join(name);
            let program = fs::read(&built)?;
            if fs::read(&installed).is_ok_and(|old| old == program) {
                continue;
            }
            // One that runs keeps the old file. Two of these programs, each in a namespace of its
            // own, may have the same number.
            let new = bin.join(format!(".{name}.{:x}", fastrand::u64(..)));
            fs::copy(&built, &new)?;
            fs::rename(new, installed)?;
        }
        Ok(())
    }
}

/// MiB of memory and swap that are available, from /proc/meminfo.
fn available(meminfo: &str) -> u64 {
    let value = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let counts = matches!(name, "MemAvailable" | "SwapFree");
        counts.then(|| rest.split_whitespace().next()?.parse::<u64>().ok())?
    };
    meminfo.lines().filter_map(value).sum::<u64>() >> 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_available() {
        let text = "MemTotal: 24000000 kB\nMemAvailable: 2097152 kB\nSwapFree:  1024 kB\n";
        assert_eq!(available(text), 2049);
        assert_eq!(available(""), 0);
    }
}
