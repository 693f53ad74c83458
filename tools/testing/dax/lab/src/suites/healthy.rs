// SPDX-License-Identifier: GPL-2.0

//! Nothing is paid while there is no poison: what the series adds to the paths of
//! faults and I/O hides behind a static key, and that is a NOP in the code.

use std::fs;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex};

use crate::ktap::{Test, Verdict};
use crate::lab::Lab;

const KERNEL: &str = "build/kernels/healthy";
const KEY: &str = "dax_poison_key";

/// The functions that ask for the key, by object. One that is inlined elsewhere
/// is named by the function that it ends up in; pmem_is_bad() is in three.
const SITES: &[(&str, &[&str])] = &[
    (
        "fs/dax.o",
        &[
            "dax_insert_pfn_mkwrite",
            "dax_finish_sync_fault",
            "dax_flush_pages",
            "dax_writeback_one",
            "dax_writeback_mapping_range",
        ],
    ),
    (
        "drivers/nvdimm/pmem.o",
        &[
            "__pmem_direct_access",
            "pmem_is_bad",
            "pmem_do_read",
            "pmem_do_write",
            "pmem_submit_bio",
            "pmem_recovery_write",
            "pmem_release_disk",
            "__pmem_unlisted",
        ],
    ),
];

/// NOPs as objtool and the kernel write them, of 5 and 2 bytes.
const NOPS: [&[u8]; 2] = [&[0x0f, 0x1f, 0x44, 0x00, 0x00], &[0x66, 0x90]];

pub fn run(lab: &Lab) -> Result<Vec<Test>> {
    let kernel = lab.top.join(KERNEL);
    let test = |&(object, functions): &(&str, &[&str])| {
        let (verdict, remark) = match check(&kernel.join(object), functions) {
            Ok(sites) => {
                println!("{object}: NOPs in {}", sites.join(", "));
                (Verdict::Passed, String::new())
            }
            Err(e) => (Verdict::Failed, format!("{e:#}")),
        };
        Test::new(object, verdict, &remark)
    };
    Ok(SITES.iter().map(test).collect())
}

/// The places in the code that the key switches, after all were seen to be NOPs.
fn check(path: &Path, functions: &[&str]) -> Result<Vec<String>> {
    let data = fs::read(path).with_context(|| path.display().to_string())?;
    let elf = ElfFile64::<object::Endianness>::parse(&*data)?;
    let mut sites = Vec::new();
    for (section, offset) in sites_of(&elf)? {
        let code = elf.section_by_index(section)?.data()?;
        let code = code.get(offset as usize..).context("outside its section")?;
        let function = function_at(&elf, section, offset).context("in no function")?;
        ensure!(
            NOPS.iter().any(|nop| code.starts_with(nop)),
            "{function}+{offset:#x} is no NOP: {:02x?}",
            &code[..code.len().min(5)]
        );
        ensure!(
            functions.contains(&function.as_str()),
            "{function} asks for {KEY}; is it a path that should?"
        );
        sites.push(function);
    }
    if sites.is_empty() {
        bail!("nobody asks for {KEY}");
    }
    Ok(sites)
}

/// Sections and offsets of the code that `__jump_table` lists for the key. An entry
/// is three relocations: code, target (4 bytes each) and key (8 bytes).
fn sites_of(elf: &ElfFile64<'_>) -> Result<Vec<(SectionIndex, u64)>> {
    let Some(table) = elf.section_by_name("__jump_table") else {
        return Ok(Vec::new());
    };
    let relocations: Vec<_> = table.relocations().collect();
    let mut sites = Vec::new();
    for (at, relocation) in &relocations {
        let RelocationTarget::Symbol(symbol) = relocation.target() else {
            continue;
        };
        if at % 16 != 8 || elf.symbol_by_index(symbol)?.name() != Ok(KEY) {
            continue;
        }
        let (_, code) = relocations
            .iter()
            .find(|(other, _)| *other == at - 8)
            .context("an entry without code")?;
        let RelocationTarget::Symbol(symbol) = code.target() else {
            bail!("code is not told by a symbol");
        };
        let symbol = elf.symbol_by_index(symbol)?;
        let section = symbol.section_index().context("code in no section")?;
        let offset = symbol.address().wrapping_add_signed(code.addend());
        sites.push((section, offset));
    }
    Ok(sites)
}

fn function_at(elf: &ElfFile64<'_>, section: SectionIndex, offset: u64) -> Option<String> {
    let symbol = elf.symbols().find(|s| {
        s.section_index() == Some(section)
            && s.kind() == object::SymbolKind::Text
            && (s.address()..s.address() + s.size()).contains(&offset)
    })?;
    // GCC's clones have a suffix.
    let name = symbol.name().ok()?;
    Some(name.split('.').next().unwrap_or(name).into())
}
