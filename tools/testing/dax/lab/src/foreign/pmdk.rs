// SPDX-License-Identifier: GPL-2.0

//! PMDK's tests of bad blocks, each in a guest of its own: they look at all bad blocks there are.

use anyhow::Result;

use super::commands::{self, telling, Args, Spec};
use crate::lab::Lab;
use crate::qemu::Platform;

/// Files are on the first device, the second one is a character device. The configuration is
/// PMDK's for real pmem: errors come from the firmware.
const SETUP: &str = "
mkdir /suite /mnt/pmem && mount /dev/vdb /suite && cd /suite/src/test || exit
export PATH=/suite/lab:$PATH
mkfs.xfs -q -f -m reflink=1,rmapbt=1 /dev/pmem0 || exit
mount -o dax=always /dev/pmem0 /mnt/pmem || exit
ndctl create-namespace -f -e namespace1.0 --mode=devdax --map=mem --align=4096 >/dev/null || exit
cat >testconfig.sh <<END
PMEM_FS_DIR=/mnt/pmem
NON_PMEM_FS_DIR=/tmp
DEVICE_DAX_PATH=($(ls /dev/dax*))
TEST_TYPE=all
TEST_BUILD=debug
TEST_TIMEOUT=20m
ENABLE_SUDO_TESTS=y
BADBLOCK_TEST_TYPE=real_pmem
END
";

pub fn run(lab: &Lab, args: &Args) -> Result<u8> {
    let spec = Spec {
        name: "pmdk",
        make: "make pmdk-test PMDK=path",
        setup: SETUP.into(),
        platform: |_| Platform::Nfit,
        alone: true,
        told,
        // It may be for filesystems of another kind only.
        skipped: |status, said| status == 0 && !said.contains("PASS"),
        ..Spec::default()
    };
    commands::run(lab, &spec, args)
}

/// The line with the verdict; the log of the test may follow.
fn told(lines: &[String]) -> String {
    telling(lines, &["rror", "FAIL", "failed", "PASS", "SKIP"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_with_the_verdict() {
        let told = |text: &str| told(&text.lines().map(String::from).collect::<Vec<_>>());
        let skip = "util_badblock/TEST3: SKIP required: sudo allowed";
        assert_eq!(told(&format!("util_badblock/TEST3: SETUP\n{skip}")), skip);
        assert_eq!(
            told(&format!("{skip}\na: SETUP\na: PASS [1 s]\nend")),
            "a: PASS [1 s]"
        );
        assert_eq!(
            told("a: SETUP\nError: no bad blocks\nlog"),
            "Error: no bad blocks"
        );
    }
}
