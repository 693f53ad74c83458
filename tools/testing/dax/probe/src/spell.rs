// SPDX-License-Identifier: GPL-2.0

//! Steps that can be written down: each is a word, and numbers with names.

use std::fmt;

use anyhow::Result;

/// What a step is about: a number, or several.
pub trait Field: Sized {
    fn write(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    fn read(name: &str, number: &mut dyn FnMut(&str) -> Result<u64>) -> Result<Self>;
}

impl Field for u64 {
    fn write(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {name}={self}")
    }

    fn read(name: &str, number: &mut dyn FnMut(&str) -> Result<u64>) -> Result<Self> {
        number(name)
    }
}

/// Declares structs of numbers.
macro_rules! places {
    ($($(#[$doc:meta])* $name:ident { $($field:ident),* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name {
            $(pub $field: u64,)*
        }

        impl $crate::spell::Field for $name {
            fn write(&self, _: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(self.$field.write(stringify!($field), f)?;)*
                Ok(())
            }

            fn read(
                _: &str,
                number: &mut dyn FnMut(&str) -> anyhow::Result<u64>,
            ) -> anyhow::Result<Self> {
                Ok(Self { $($field: number(stringify!($field))?),* })
            }
        }
    )*};
}

/// Declares an enum of steps, with their words and the names of their numbers, and one of their
/// groups.
macro_rules! steps {
    ($(#[$about:meta])* $Step:ident by $Group:ident $($group:ident {
        $($(#[$doc:meta])* $name:ident $word:literal $(($($field:ident: $type:ty),*))?;)*
    })*) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $Step {
            $($($(#[$doc])* $name $(($($type),*))?,)*)*
        }

        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $Group {
            $($group,)*
        }

        impl $Step {
            #[allow(unused_variables)]
            pub fn group(self) -> $Group {
                match self {
                    $($(Self::$name $(($($field),*))? => $Group::$group,)*)*
                }
            }

            /// The first of its numbers that has this name.
            pub fn number(self, name: &str) -> Option<u64> {
                let text = self.to_string();
                let value = |word: &str| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
                text.split(' ').find_map(value)
            }
        }

        impl std::fmt::Display for $Step {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $($(Self::$name $(($($field),*))? => {
                        f.write_str($word)?;
                        $($($field.write(stringify!($field), f)?;)*)?
                    })*)*
                }
                Ok(())
            }
        }

        impl std::str::FromStr for $Step {
            type Err = anyhow::Error;

            fn from_str(text: &str) -> anyhow::Result<Self> {
                let mut words = text.split_whitespace();
                let first = words.next().unwrap_or_default();
                let mut number = |name: &str| {
                    let value = words.next().and_then(|word| word.strip_prefix(name));
                    let value = value.and_then(|word| word.strip_prefix('='));
                    Ok(value.with_context(|| format!("{text}: no {name}"))?.parse()?)
                };
                let step = match first {
                    $($($word => Self::$name $(($(
                        <$type>::read(stringify!($field), &mut number)?
                    ),*))?,)*)*
                    _ => anyhow::bail!("unknown: {text}"),
                };
                anyhow::ensure!(words.next().is_none(), "{text}: too many numbers");
                Ok(step)
            }
        }
    };
}

pub(crate) use {places, steps};
