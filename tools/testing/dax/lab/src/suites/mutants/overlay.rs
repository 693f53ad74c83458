// SPDX-License-Identifier: GPL-2.0

//! Where mutants are built: over the tree and the build directories of the kernels, as their
//! objects name their paths. All have a layer in memory on top, which takes all changes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{ensure, Context, Result};
use fs_err as fs;
use nix::mount::{mount, MsFlags};

use super::patch::{Flavour, Mutant};
use crate::lab::Lab;
use crate::program::output;

/// Objects of a mutant, its kernel several times among them: those of the debug kernel are large.
const LAYER: &str = "size=8g";

pub struct Tree<'a> {
    lab: &'a Lab,
    linux: PathBuf,
}

fn mount_at(kind: &str, at: &Path, options: &str) -> Result<()> {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("mount of {kind} at {}", at.display()))
}

impl<'a> Tree<'a> {
    /// Lays layers over these kernels, which must be built. The mounts are in the namespace of the
    /// lab's `enter`, and go with it.
    pub fn new(lab: &'a Lab, flavours: &[Flavour]) -> Result<Self> {
        let linux = lab.build("linux");
        let mut dirs = vec![("linux", linux.clone())];
        for flavour in flavours {
            let out = flavour.out(lab);
            let built = out.join(".built").is_file();
            ensure!(built, "no kernel {0}: make {0}", flavour.name());
            dirs.push((flavour.name(), out));
        }
        // Else everybody would see the mutants.
        ensure!(
            std::env::var_os("LAB_INSIDE").is_some(),
            "run this with tools/testing/lab/guest.sh"
        );
        let layers = std::env::temp_dir().join("mutants");
        fs::create_dir_all(&layers)?;
        mount_at("tmpfs", &layers, LAYER)?;
        for (name, dir) in &dirs {
            let (upper, work) = (layers.join(name), layers.join(name).with_extension("work"));
            fs::create_dir(&upper)?;
            fs::create_dir(&work)?;
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                dir.display(),
                upper.display(),
                work.display()
            );
            mount_at("overlay", dir, &options)?;
        }
        Ok(Self { lab, linux })
    }

    /// Builds the tree as it is. The kernel is copied to `image`.
    pub fn build(&self, flavour: Flavour, image: &Path) -> Result<PathBuf> {
        // The guests wait for this, so it does not give way to them.
        let said = Command::new(self.lab.script("kernel.sh"))
            .args([flavour.name(), "compile"])
            .current_dir(&self.lab.top)
            .stdin(Stdio::null())
            .output()
            .context("kernel.sh")?;
        let text = String::from_utf8_lossy(&said.stderr);
        fs::write(image.with_extension("log"), text.as_bytes())?;
        let errors = text.lines().filter(|line| line.contains("error"));
        let errors: Vec<_> = errors.take(2).map(str::trim).collect();
        ensure!(
            said.status.success(),
            "does not build: {}",
            errors.join(" / ")
        );
        fs::copy(flavour.out(self.lab).join("arch/x86/boot/bzImage"), image)?;
        Ok(image.into())
    }

    /// The same with a mutant's patch, which is taken out again after that.
    pub fn build_mutant(&self, mutant: &Mutant, image: &Path) -> Result<PathBuf> {
        let mut kept = Vec::new();
        for file in &mutant.files {
            let path = self.linux.join(file);
            kept.push((path.clone(), fs::read(path)?));
        }
        let patch = mutant.path.to_string_lossy();
        self.git(&["apply", "--whitespace=nowarn", &patch])
            .context("does not apply")?;
        let built = self.build(mutant.flavour, image);
        // With new times, so that only this is built again.
        for (path, text) in kept {
            fs::write(path, text)?;
        }
        built
    }

    /// Files of the kernel's code that the series adds or changes.
    pub fn series(&self) -> Result<Vec<String>> {
        let text = self.git(&["diff", "--name-only", "base", "HEAD", "--", "*.c", "*.rs"])?;
        Ok(text.lines().map(String::from).collect())
    }

    fn git(&self, words: &[&str]) -> Result<String> {
        output(Command::new("git").arg("-C").arg(&self.linux).args(words))
    }
}
