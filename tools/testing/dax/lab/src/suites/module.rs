// SPDX-License-Identifier: GPL-2.0

//! XFS as a module: loaded, used for two scenes, unloaded. The kernel is built while guests
//! with another one run.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use super::scenes;
use crate::ktap::Test;
use crate::lab::Lab;
use crate::side::Out;
use crate::vm::Vm;

pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let kernel = super::build_kernel(lab, "module", out)?;
    let run = lab.run()?;
    install(&kernel, &run.share())?;
    let module = format!("/lab/vm/{}/xfs.ko", run.name);
    let play = scenes::script(&["one-mapper".into(), "shared".into()], &[], 0);
    // No scene tells whether XFS really came from the module. ("set -e" overlooks
    // a command behind "!".)
    let script = format!(
        "set -e\n\
         if grep -qw xfs /proc/filesystems; then echo 'XFS is built in'; exit 1; fi\n\
         insmod {module}\n\
         {play}\n\
         rmmod xfs\n\
         if grep -qw xfs /proc/filesystems; then echo 'XFS stays'; exit 1; fi\n"
    );
    let vm = Vm::new(lab, "module", &kernel, crate::pace::limit(300).as_secs());
    let outcome = vm.run(&script, &mut |line| out.line(line))?;
    let mut tests = scenes::results(&outcome);
    let end = format!("{:?}", outcome.end);
    tests.push(Test::of("load and unload", outcome.good(), &end));
    Ok(tests)
}

/// Gives guests the module, which depends on no other.
fn install(kernel: &Path, share: &Path) -> Result<()> {
    fs::create_dir_all(share)?;
    fs::copy(kernel.join("fs/xfs/xfs.ko"), share.join("xfs.ko"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`run`] returns then is a failed test, and not one that is skipped.
    #[test]
    fn a_kernel_that_is_missing_is_an_error() {
        let dir = std::env::temp_dir().join(format!("dax-lab.{}", std::process::id()));
        let error = install(&dir.join("build/kernels/module"), &dir).unwrap_err();
        assert!(format!("{error:#}").contains("xfs.ko"), "{error:#}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
