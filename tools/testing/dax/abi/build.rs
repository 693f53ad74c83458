// SPDX-License-Identifier: GPL-2.0

//! Has the sysroot's bindgen translate src/abi.h, as the kernel's own build does with its headers.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Relative to this package.
const XFS: &str = "../../../../build/linux/fs/xfs/libxfs";
const HEADER: &str = "src/abi.h";
const TYPES: &str = "blkpg_.*|file_clone_range|file_dedupe_range|fiemap|fsxattr|fsmap_head|\
                     nd_cmd_(clear_error|pkg)|\
                     xfs_(ag_geometry|bulkstat_req|device|exchange_range|fsop_geom|\
                     fsop_handlereq|getparents_by_handle|getparents_rec|health_monitor|\
                     rtgroup_geometry|verify_media)";
const VALUES: &str = "VALUE_.*|BLKPG_.*_PARTITION|FIEMAP_EXTENT_.*|FS_XFLAG_.*|FMR_OF_.*|\
                      FILE_DEDUPE_RANGE_.*|STATX_ATTR_DAX|XFS_(AG|FSOP|RTGROUP)_GEOM_SICK_.*|\
                      XFS_BS_SICK_.*|XFS_FSOP_GEOM_FLAGS_.*|XFS_FSOP_GOING_FLAGS_.*|\
                      XFS_GETPARENTS_OFLAG_.*|XFS_VERIFY_MEDIA_.*";

fn main() -> Result<(), String> {
    let xfs = format!("{XFS}/xfs_fs.h");
    println!("cargo:rerun-if-changed={HEADER}");
    println!("cargo:rerun-if-changed={xfs}");
    if !Path::new(&xfs).exists() {
        return Err(format!("no {xfs}: make tree unpacks the kernel"));
    }
    let mut bindgen = Command::new("bindgen");
    bindgen
        .args([HEADER, "--with-derive-default", "--no-doc-comments"])
        .args(["--no-prepend-enum-name", "--no-layout-tests"])
        .args(["--allowlist-type", TYPES, "--allowlist-var", VALUES])
        .args(["--", "-I", XFS]);
    let made = bindgen.output().map_err(|e| format!("bindgen: {e}"))?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into());
    }
    // Members without the names of their structs.
    let mut text = String::from_utf8_lossy(&made.stdout).into_owned();
    text = text.replace("pub const VALUE_", "pub const ");
    for prefix in [
        "ag_", "bs_", "fe_", "fm_", "fmh_", "fmr_", "fsx_", "gp_", "gph_", "gpr_", "ha_", "me_",
        "nd_", "rg_",
    ] {
        text = text.replace(&format!(" pub {prefix}"), " pub ");
    }
    let out = env::var("OUT_DIR").map_err(|e| e.to_string())?;
    fs::write(format!("{out}/abi.rs"), text).map_err(|e| format!("{out}: {e}"))
}
