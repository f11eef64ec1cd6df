//! The functions of the host's extensions, a module for each table of keros.h.
#![allow(
    non_camel_case_types,
    reason = "the modules have the names of the tables in keros.h"
)]

use super::*;

pub(super) mod keros_thread_check {
    use super::*;

    pub(crate) unsafe extern "C" fn in_event(host: *const keros_host) -> i32 {
        // SAFETY: keros.h asks for the host of a living instance.
        let bridge = unsafe { of_host(host) };
        bridge.is_some_and(Bridge::is_in_event).into()
    }
}

pub(super) mod keros_facts {
    use super::*;

    pub(crate) unsafe extern "C" fn facts(
        run: *const keros_run,
        out: *mut keros_str,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and room for a view.
        unsafe {
            lending(run, |loans, cx| {
                loans.facts = cx.facts()?;
                answer(out, keros_str::new(&loans.facts))
            })
        }
    }

    pub(crate) unsafe extern "C" fn detail(
        run: *const keros_run,
        out: *mut keros_str,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and room for a view.
        unsafe {
            lending(run, |_, cx| match cx.detail() {
                Some(detail) => answer(out, keros_str::new(detail)),
                None => Ok(KEROS_E_NOT_FOUND),
            })
        }
    }

    pub(crate) unsafe extern "C" fn error(
        run: *const keros_run,
        out: *mut keros_str,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and room for a view.
        unsafe {
            lending(run, |loans, _| match &loans.error {
                Some(error) => answer(out, keros_str::new(error)),
                None => Ok(KEROS_E_NOT_FOUND),
            })
        }
    }
}

pub(super) mod keros_history {
    use super::*;

    fn rows<'l>(
        loans: &'l mut Loans,
        cx: &mut Context<'_>,
    ) -> Result<&'l mut Vec<EpochLogs>, BoxError> {
        let rows = match loans.history.take() {
            Some(rows) => rows,
            None => cx.history()?,
        };
        Ok(loans.history.insert(rows))
    }

    pub(crate) unsafe extern "C" fn count(run: *const keros_run, out: *mut u64) -> keros_status {
        // SAFETY: keros.h asks for the host's run and room for a number.
        unsafe { lending(run, |loans, cx| answer(out, rows(loans, cx)?.len() as u64)) }
    }

    pub(crate) unsafe extern "C" fn row(
        run: *const keros_run,
        index: u64,
        epoch: *mut u64,
        logs: *mut keros_logs,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run, room for a number and a struct of the size it
        // tells.
        unsafe {
            lending(run, |loans, cx| {
                let mut items = std::mem::take(&mut loans.history_items);
                items.clear();
                let row = usize::try_from(index).ok();
                let row =
                    row.and_then(|index| rows(loans, cx).map(|rows| rows.get(index)).transpose());
                let status = match row.transpose()? {
                    None => KEROS_E_ARG,
                    Some(row) => {
                        for (key, value) in row.logs.iter() {
                            items.extend(told(value).map(|value| keros_log {
                                key: keros_str::new(key),
                                value,
                            }));
                        }
                        match (epoch.as_mut(), put(logs, &items)) {
                            (Some(epoch), true) => {
                                *epoch = row.epoch;
                                KEROS_OK
                            }
                            _ => KEROS_E_ARG,
                        }
                    }
                };
                loans.history_items = items;
                Ok(status)
            })
        }
    }
}

pub(super) mod keros_optimizer {
    use super::*;

    pub(crate) unsafe extern "C" fn numbers(
        run: *const keros_run,
        out: *mut keros_logs,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a struct of the size it tells.
        unsafe {
            lending(run, |loans, cx| {
                loans.numbers = cx.optimizer_numbers();
                loans.number_items.clear();
                for (name, value) in &loans.numbers {
                    let value = told(&LogValue::Float(*value));
                    loans.number_items.extend(value.map(|value| keros_log {
                        key: keros_str::new(name),
                        value,
                    }));
                }
                match put(out, &loans.number_items) {
                    true => Ok(KEROS_OK),
                    false => Ok(KEROS_E_ARG),
                }
            })
        }
    }

    pub(crate) unsafe extern "C" fn set_number(
        run: *const keros_run,
        name: keros_str,
        value: f64,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a readable name.
        unsafe {
            lending(run, |_, cx| match text(name) {
                None => Ok(KEROS_E_ARG),
                Some(name) => cx.set_optimizer_number(name, value).map(|()| KEROS_OK),
            })
        }
    }

    pub(crate) unsafe extern "C" fn is_scheduled(
        run: *const keros_run,
        out: *mut i32,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and room for a number.
        unsafe { lending(run, |_, cx| answer(out, cx.is_scheduled().into())) }
    }

    pub(crate) unsafe extern "C" fn swap_averages(run: *const keros_run) -> keros_status {
        // SAFETY: keros.h asks for the host's run.
        unsafe { lending(run, |_, cx| cx.swap_averages().map(|()| KEROS_OK)) }
    }
}

pub(super) mod keros_parameters {
    use super::*;

    /// Lends the values or the gradient of a parameter.
    ///
    /// # Safety
    /// As keros.h tells of [`value`].
    unsafe fn lend(
        run: *const keros_run,
        of: Of,
        index: u64,
        out: *mut keros_tensor,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and room for a tensor.
        unsafe {
            lending(run, |loans, cx| {
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                let Some(param) = cx.params().get(at) else {
                    return Ok(KEROS_E_ARG);
                };
                let loan = loans.array(of, index);
                loan.describe(&param.shape);
                match of {
                    Of::Gradient => cx.read_gradient(at, &mut loan.values)?,
                    _ => cx.read_param(at, &mut loan.values)?,
                }
                answer(out, loan.tensor())
            })
        }
    }

    pub(crate) unsafe extern "C" fn count(run: *const keros_run, out: *mut u64) -> keros_status {
        // SAFETY: keros.h asks for the host's run and room for a number.
        unsafe { lending(run, |_, cx| answer(out, cx.params().len() as u64)) }
    }

    pub(crate) unsafe extern "C" fn describe(
        run: *const keros_run,
        index: u64,
        out: *mut keros_array,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a struct of the size it tells.
        unsafe {
            lending(run, |loans, cx| {
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                let Some(param) = cx.params().get(at) else {
                    return Ok(KEROS_E_ARG);
                };
                let loan = loans.array(Of::Description, index);
                loan.describe(&param.shape);
                param.name.clone_into(&mut loan.name);
                let flags = if param.trainable {
                    KEROS_ARRAY_TRAINABLE
                } else {
                    0
                };
                describe_array(out, loan, flags)
            })
        }
    }

    pub(crate) unsafe extern "C" fn value(
        run: *const keros_run,
        index: u64,
        out: *mut keros_tensor,
    ) -> keros_status {
        // SAFETY: the same is asked of us.
        unsafe { lend(run, Of::Value, index, out) }
    }

    pub(crate) unsafe extern "C" fn gradient(
        run: *const keros_run,
        index: u64,
        out: *mut keros_tensor,
    ) -> keros_status {
        // SAFETY: the same is asked of us.
        unsafe { lend(run, Of::Gradient, index, out) }
    }

    pub(crate) unsafe extern "C" fn assign(
        run: *const keros_run,
        index: u64,
        tensor: *const keros_tensor,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a tensor of the plugin.
        unsafe {
            lending(run, |_, cx| {
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                let shape = cx.params().get(at).map(|param| param.shape.as_slice());
                let Some(values) = shape.and_then(|shape| values(tensor, shape)) else {
                    return Ok(KEROS_E_ARG);
                };
                cx.write_param(at, values).map(|()| KEROS_OK)
            })
        }
    }
}

pub(super) mod keros_inputs {
    use super::*;

    pub(crate) unsafe extern "C" fn count(run: *const keros_run, out: *mut u64) -> keros_status {
        // SAFETY: keros.h asks for the host's run and room for a number.
        unsafe { lending(run, |_, cx| answer(out, cx.inputs().len() as u64)) }
    }

    pub(crate) unsafe extern "C" fn describe(
        run: *const keros_run,
        index: u64,
        out: *mut keros_array,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a struct of the size it tells.
        unsafe {
            lending(run, |loans, cx| {
                let inputs = cx.inputs();
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                let Some(input) = inputs.get(at) else {
                    return Ok(KEROS_E_ARG);
                };
                let loan = loans.array(Of::InputDescription, index);
                loan.describe(&input.shape);
                input.name.clone_into(&mut loan.name);
                describe_array(out, loan, 0)
            })
        }
    }

    pub(crate) unsafe extern "C" fn value(
        run: *const keros_run,
        index: u64,
        out: *mut keros_tensor,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and room for a tensor.
        unsafe {
            lending(run, |loans, cx| {
                let inputs = cx.inputs();
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                let Some(input) = inputs.get(at) else {
                    return Ok(KEROS_E_ARG);
                };
                let loan = loans.array(Of::Input, index);
                loan.describe(&input.shape);
                cx.read_input(at, &mut loan.values)?;
                answer(out, loan.tensor())
            })
        }
    }
}

pub(super) mod keros_checkpoint {
    use super::*;

    pub(crate) unsafe extern "C" fn save_weights(
        run: *const keros_run,
        path: keros_str,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a readable path.
        unsafe { with_path(run, path, |path, _, cx| cx.save_weights(path)) }
    }

    pub(crate) unsafe extern "C" fn load_weights(
        run: *const keros_run,
        path: keros_str,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a readable path.
        unsafe { with_path(run, path, |path, _, cx| cx.load_weights(path)) }
    }

    pub(crate) unsafe extern "C" fn save_model(
        run: *const keros_run,
        path: keros_str,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a readable path.
        unsafe { with_path(run, path, |path, _, cx| cx.save_model(path)) }
    }

    pub(crate) unsafe extern "C" fn write(run: *const keros_run, path: keros_str) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a readable path.
        unsafe {
            with_path(run, path, |path, loans, _| {
                loans.checkpoints.push(path.to_owned());
                Ok(())
            })
        }
    }

    pub(crate) unsafe extern "C" fn resume(run: *const keros_run, path: keros_str) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a readable path.
        unsafe {
            with_path(run, path, |path, loans, _| {
                loans.resume.get_or_insert_with(|| path.to_owned());
                Ok(())
            })
        }
    }
}

pub(super) mod keros_queue {
    use super::*;

    pub(crate) unsafe extern "C" fn stats(
        run: *const keros_run,
        out: *mut keros_queue_stats,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host's run and a struct of the size it tells.
        unsafe {
            lending(run, |_, cx| {
                let out = match out.as_mut() {
                    Some(out) if out.struct_size as usize >= size_of::<keros_queue_stats>() => out,
                    _ => return Ok(KEROS_E_ARG),
                };
                let Some(queue) = cx.queue() else {
                    return Ok(KEROS_E_NOT_FOUND);
                };
                let nanoseconds =
                    |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                out.reserved = 0;
                out.ready = queue.ready;
                out.capacity = queue.capacity;
                out.delivered = queue.delivered;
                out.consumer_wait_ns = nanoseconds(queue.consumer_wait);
                out.producer_wait_ns = nanoseconds(queue.producer_wait);
                Ok(KEROS_OK)
            })
        }
    }
}

pub(super) mod keros_requests {
    use super::*;

    pub(crate) unsafe extern "C" fn stop(
        host: *const keros_host,
        reason: keros_str,
    ) -> keros_status {
        // SAFETY: keros.h asks for the host of a living instance and a readable text.
        unsafe {
            match text(reason) {
                None => KEROS_E_ARG,
                Some(reason) => request(host, |requests| requests.stop(reason)),
            }
        }
    }

    pub(crate) unsafe extern "C" fn save(host: *const keros_host, view: keros_str) -> keros_status {
        // SAFETY: keros.h asks for the host of a living instance and a readable path.
        unsafe {
            match path(view) {
                None => KEROS_E_ARG,
                Some(path) => request(host, |requests| requests.save(path)),
            }
        }
    }
}
