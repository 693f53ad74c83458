// SPDX-License-Identifier: GPL-2.0

//! Structs and numbers of ioctls, from the kernel's headers (build.rs).

#![allow(clippy::all, clippy::undocumented_unsafe_blocks)]
#![allow(dead_code, non_camel_case_types, unsafe_op_in_unsafe_fn)]

include!(concat!(env!("OUT_DIR"), "/abi.rs"));

/// A struct and the array that it ends with.
#[repr(C)]
pub struct With<H, T, const N: usize> {
    pub head: H,
    pub list: [T; N],
}

impl<H, T: Copy + Default, const N: usize> With<H, T, N> {
    pub fn new(head: H) -> Box<Self> {
        let list = [T::default(); N];
        Box::new(Self { head, list })
    }
}
