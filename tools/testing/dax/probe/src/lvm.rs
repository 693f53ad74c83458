// SPDX-License-Identifier: GPL-2.0

//! Logical volumes on the pmem devices, made by LVM's own tools.

use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::pmem::Pmem;

const GROUP: &str = "lab";
/// No udev makes nodes, and nothing is kept of what was before. Extents begin where huge pages do.
const CONFIG: &str = "\
    activation { udev_sync=0 udev_rules=0 verify_udev_operations=1 monitoring=0 } \
    devices { use_devicesfile=0 obtain_device_list_from_udev=0 default_data_alignment=2 } \
    backup { backup=0 archive=0 } \
    global { use_lvmpolld=0 }";

/// A volume group on pmem devices, which become physical volumes of it.
pub struct Group(Vec<Pmem>);

impl Group {
    pub fn new(devices: &[Pmem]) -> Result<Self> {
        for pmem in devices {
            pmem.overwrite_bad()?;
            // What a scene that failed has left there.
            pmem.overwrite(0)?;
        }
        let group = Self(devices.to_vec());
        lvm("vgcreate", &["-y", GROUP], &group.0)?;
        Ok(group)
    }

    /// Makes a volume, as the words for lvcreate say: on these devices, or on any.
    pub fn create(&self, name: &str, words: &[&str], on: &[Pmem]) -> Result<String> {
        let alike = ["-y", "-Wn", "-Zn", "-n", name];
        lvm("lvcreate", &[&alike, words, &[GROUP]].concat(), on)?;
        Ok(format!("/dev/{GROUP}/{name}"))
    }

    /// Makes a volume larger, out of what is free on a device.
    pub fn extend(&self, name: &str, size: &str, on: Pmem) -> Result<()> {
        let volume = format!("{GROUP}/{name}");
        lvm("lvextend", &["-L", size, &volume], &[on])
    }

    /// Moves all extents of a device to another one.
    pub fn move_extents(&self, from: Pmem, to: Pmem) -> Result<()> {
        lvm("pvmove", &[], &[from, to])
    }

    /// Takes the volumes of the group away or brings them back.
    pub fn activate(&self, active: bool) -> Result<()> {
        let word = if active { "-ay" } else { "-an" };
        lvm("vgchange", &[word, GROUP], &[])
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Best effort.
        let _ = self.activate(false);
        for pmem in &self.0 {
            let _ = pmem.overwrite(0);
        }
    }
}

fn lvm(command: &str, words: &[&str], devices: &[Pmem]) -> Result<()> {
    let mut lvm = Command::new("lvm");
    lvm.args([command, "--config", CONFIG]).args(words);
    lvm.args(devices.iter().map(|pmem| pmem.path()));
    let out = lvm.output().context("lvm")?;
    let said = String::from_utf8_lossy(&out.stderr);
    let said: Vec<_> = said.lines().map(str::trim).collect();
    ensure!(out.status.success(), "{command}: {}", said.join(" / "));
    Ok(())
}
