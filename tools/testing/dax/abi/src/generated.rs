// SPDX-License-Identifier: GPL-2.0

//! What build.rs has made of abi.h.

#![allow(clippy::all, clippy::undocumented_unsafe_blocks)]
#![allow(dead_code, non_camel_case_types, unsafe_op_in_unsafe_fn)]

include!(concat!(env!("OUT_DIR"), "/abi.rs"));
