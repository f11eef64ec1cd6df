//! Sizes, offsets and constants in Rust equal those a C compiler finds in the header.

use crate::{cc, compilers, complaint};
use keros_abi::*;
use std::fmt::Write as _;
use std::fs;
use std::mem::{align_of, offset_of, size_of};
use std::process::Command;

/// A struct of the header as Rust sees it.
struct Struct {
    name: &'static str,
    size: usize,
    align: usize,
    /// Name, offset, size.
    fields: Vec<(&'static str, usize, usize)>,
}

/// Size of what a projection yields, without a value.
fn size_behind<S, F>(_: impl Fn(&S) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! structs {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        vec![$(Struct {
            name: stringify!($name),
            size: size_of::<$name>(),
            align: align_of::<$name>(),
            fields: vec![$((
                stringify!($field).trim_start_matches("r#"),
                offset_of!($name, $field),
                size_behind(|s: &$name| &s.$field),
            )),*],
        }),*]
    };
}

fn structs() -> Vec<Struct> {
    structs! {
        keros_str { ptr, len }
        keros_value { kind, reserved, r#as }
        keros_log { key, value }
        keros_logs { struct_size, stride, items, count }
        keros_run_info { struct_size, flags, epochs, initial_epoch, steps, metrics, metric_count }
        keros_run { struct_size, reserved, info, logs, log, set_log, learning_rate, data_wait_ns }
        keros_event { struct_size, kind, epoch, batch, step, samples, flags, run }
        keros_decision { struct_size, actions, learning_rate, reason }
        keros_host { struct_size, abi_minor, name, version, extension, message, fail }
        keros_thread_check { struct_size, reserved, in_event }
        keros_facts { struct_size, reserved, facts, detail, error }
        keros_history { struct_size, reserved, count, row }
        keros_optimizer { struct_size, reserved, numbers, set_number, is_scheduled, swap_averages }
        keros_tensor {
            data, device_type, device_id, ndim, dtype_code, dtype_bits, dtype_lanes, shape, strides,
            byte_offset,
        }
        keros_array { struct_size, flags, name, shape, ndim }
        keros_parameters { struct_size, reserved, count, describe, value, gradient, assign }
        keros_inputs { struct_size, reserved, count, describe, value }
        keros_checkpoint {
            struct_size, reserved, save_weights, load_weights, save_model, write, resume,
        }
        keros_queue_stats {
            struct_size, reserved, ready, capacity, delivered, consumer_wait_ns, producer_wait_ns,
        }
        keros_queue { struct_size, reserved, stats }
        keros_requests { struct_size, reserved, stop, save }
        keros_sink { struct_size, reserved, write }
        keros_state { struct_size, reserved, save, load }
        keros_messages { struct_size, reserved, message }
        keros_schema { struct_size, reserved, json }
        keros_self_test { struct_size, reserved, run }
        keros_callback { struct_size, reserved, events, instance, on_event, destroy, extension }
        keros_plugin_module {
            magic, struct_size, abi_major, abi_minor, min_host_minor,
            id, version, vendor, license, summary, build, create, extension,
        }
    }
}

macro_rules! constants {
    ($($name:ident)*) => {
        vec![$((stringify!($name), $name as i128)),*]
    };
}

fn constants() -> Vec<(&'static str, i128)> {
    constants! {
        KEROS_MAGIC KEROS_ABI_MAJOR KEROS_ABI_MINOR
        KEROS_OK KEROS_E_ARG KEROS_E_UNSUPPORTED KEROS_E_STATE KEROS_E_NOT_FOUND KEROS_E_IO
        KEROS_E_CONFIG KEROS_E_THREAD KEROS_E_PANIC KEROS_E_VERSION KEROS_E_OTHER
        KEROS_TEXT_MAX KEROS_STATE_MAX KEROS_ARRAY_TRAINABLE KEROS_F64 KEROS_I64 KEROS_BOOL KEROS_TEXT
        KEROS_UNKNOWN KEROS_RUN_VALIDATION KEROS_INFO KEROS_WARNING KEROS_ERROR
        KEROS_TRAIN_BEGIN KEROS_TRAIN_END KEROS_EPOCH_BEGIN KEROS_EPOCH_END
        KEROS_TRAIN_BATCH_BEGIN KEROS_TRAIN_BATCH_END KEROS_TEST_BEGIN KEROS_TEST_END
        KEROS_TEST_BATCH_BEGIN KEROS_TEST_BATCH_END KEROS_PREDICT_BEGIN KEROS_PREDICT_END
        KEROS_PREDICT_BATCH_BEGIN KEROS_PREDICT_BATCH_END
        KEROS_AFTER_BACKWARD KEROS_BEFORE_STEP KEROS_CHECKPOINT_SAVED KEROS_RUN_ERROR
        KEROS_ALL_EVENTS KEROS_EVENT_NESTED
        KEROS_STOP KEROS_STOP_EPOCH KEROS_SKIP_BATCH KEROS_SET_LEARNING_RATE
    }
}

macro_rules! texts {
    ($($name:ident)*) => {
        vec![$((stringify!($name), $name)),*]
    };
}

fn extensions() -> Vec<(&'static str, &'static str)> {
    texts! {
        KEROS_EXT_THREAD_CHECK KEROS_EXT_FACTS KEROS_EXT_HISTORY KEROS_EXT_OPTIMIZER
        KEROS_EXT_PARAMETERS KEROS_EXT_INPUTS KEROS_EXT_CHECKPOINT KEROS_EXT_QUEUE
        KEROS_EXT_REQUESTS KEROS_EXT_STATE KEROS_EXT_MESSAGES KEROS_EXT_SCHEMA KEROS_EXT_SELF_TEST
    }
}

/// What the C side should print, and the program that prints it.
fn expectation() -> (String, String) {
    let mut expected = String::new();
    let mut program = String::from(
        "#include <stdio.h>\n#include \"keros.h\"\n#define ALIGN(T) offsetof(struct { char c; T t; }, t)\n\
         int main(void) {\n",
    );
    let mut ask = |label: String, value: String, format: &str, expression: String| {
        writeln!(expected, "{label} = {value}").expect("a string takes text");
        writeln!(program, "printf(\"{label} = {format}\\n\", {expression});")
            .expect("a string takes text");
    };
    for Struct {
        name,
        size,
        align,
        fields,
    } in structs()
    {
        let number = |expression| format!("(unsigned long)({expression})");
        ask(
            format!("sizeof {name}"),
            size.to_string(),
            "%lu",
            number(format!("sizeof({name})")),
        );
        ask(
            format!("align {name}"),
            align.to_string(),
            "%lu",
            number(format!("ALIGN({name})")),
        );
        for (field, offset, size) in fields {
            let label = format!("{name}.{field}");
            let at = number(format!("offsetof({name}, {field})"));
            ask(format!("offset {label}"), offset.to_string(), "%lu", at);
            let wide = number(format!("sizeof((({name} *)0)->{field})"));
            ask(format!("size {label}"), size.to_string(), "%lu", wide);
        }
    }
    for (name, value) in constants() {
        if value < 0 {
            ask(
                name.to_owned(),
                value.to_string(),
                "%lld",
                format!("(long long)({name})"),
            );
        } else {
            ask(
                name.to_owned(),
                value.to_string(),
                "%llu",
                format!("(unsigned long long)({name})"),
            );
        }
    }
    for (name, id) in extensions() {
        ask(name.to_owned(), id.to_owned(), "%s", name.to_owned());
    }
    for kind in [KEROS_TRAIN_BEGIN, KEROS_RUN_ERROR, 63] {
        let bit = format!("(unsigned long long)KEROS_BIT({kind})");
        ask(
            format!("KEROS_BIT({kind})"),
            (1_u64 << kind).to_string(),
            "%llu",
            bit,
        );
    }
    program.push_str("return 0; }\n");
    (expected, program)
}

#[test]
fn the_c_compiler_sees_the_same_layout_and_constants() {
    let folder = tempfile::tempdir().expect("a folder");
    let (expected, program) = expectation();
    fs::write(folder.path().join("layout.c"), program).expect("the source is written");
    for compiler in compilers() {
        let build = ["-std=c11", "layout.c", "-o", "layout"];
        let output = cc(&compiler, folder.path(), &build);
        assert_eq!(complaint(&output), "", "{compiler:?}");
        let output = Command::new(folder.path().join("layout"))
            .output()
            .expect("the program runs");
        let found = String::from_utf8(output.stdout).expect("the program prints text");
        assert!(
            found == expected,
            "expected (Rust):\n{expected}\nfound ({compiler:?}):\n{found}"
        );
    }
}

/// A hole at the end would swallow the next field without a change of `struct_size`; a hole elsewhere
/// would be a field this test does not know.
#[test]
fn structs_have_no_holes() {
    for Struct {
        name, size, fields, ..
    } in structs()
    {
        let mut end = 0;
        for (field, offset, size) in fields {
            assert_eq!(offset, end, "hole before {name}.{field}");
            end = offset + size;
        }
        assert_eq!(end, size, "hole at the end of {name}");
    }
}

/// Whatever the header defines is compared above.
#[test]
fn no_constant_of_the_header_is_forgotten() {
    let known = constants();
    // Checked by themselves, or not numbers.
    let others = ["KEROS_H", "KEROS_EXPORT", "KEROS_HAS", "KEROS_BIT"];
    let texts = extensions();
    let mut found = 0;
    for line in HEADER.lines() {
        let line = line.trim_start();
        let definition = match line.strip_prefix("#define ") {
            Some(rest) => rest,
            None if line.starts_with("KEROS_") && line.contains(" = ") => line,
            None => continue,
        };
        let name = definition
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default();
        found += 1;
        assert!(
            others.contains(&name)
                || texts.iter().any(|(known, _)| *known == name)
                || known.iter().any(|(known, _)| *known == name),
            "{name} of keros.h is not in the list of constants"
        );
    }
    assert!(
        found >= known.len(),
        "{found} definitions found in keros.h, {} known",
        known.len()
    );
}

#[test]
fn structs_of_the_header_are_all_compared() {
    let known = structs();
    let named = HEADER.lines().filter_map(|line| {
        let name = line.strip_prefix("typedef struct ")?;
        name.split([' ', ';']).next()
    });
    let mut count = 0;
    for name in named {
        count += 1;
        assert!(
            known.iter().any(|known| known.name == name),
            "{name} of keros.h is not compared"
        );
    }
    assert_eq!(count, known.len());
}
