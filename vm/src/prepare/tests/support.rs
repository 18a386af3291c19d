//! A small host: runs plain and prepared modules, captures and restores through the exports.

use std::collections::HashMap;
use std::ffi::c_void;

use wasmtime::{
    Caller, Config, Engine, Extern, Func, Global, Instance, Linker, Module, OptLevel, Ref, Store, Table, Val,
};

use crate::prepare::{INIT, Prepared, REDROP, StateMap};

/// Ways to run a module that must not differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Speed,
    None,
    Pulley,
}

pub(super) const TARGETS: [Target; 3] = [Target::Speed, Target::None, Target::Pulley];

pub(super) fn engine(target: Target) -> Engine {
    let mut config = Config::new();
    config.memory_init_cow(false);
    match target {
        Target::Speed => config.cranelift_opt_level(OptLevel::Speed),
        Target::None => config.cranelift_opt_level(OptLevel::None),
        Target::Pulley => config.target("pulley64").unwrap(),
    };
    Engine::new(&config).unwrap()
}

/// The exports every machine has, so that a test has to write only its `abide_step`.
pub(super) fn module(body: &str) -> Vec<u8> {
    let alloc = r#"(func (export "abide_alloc") (param i32) (result i32) i32.const 0)"#;
    wat::parse_str(format!("(module {body} {alloc})")).unwrap()
}

/// An instance, and the way to everything in it.
pub(super) struct Guest {
    store: Store<()>,
    instance: Instance,
}

/// Everything a machine at rest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) memories: Vec<Vec<u8>>,
    pub(super) globals: Vec<Value>,
    pub(super) tables: Vec<Vec<Option<u32>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bits(u128),
    Function(Option<u32>),
}

impl Guest {
    pub(super) fn instantiate(engine: &Engine, wasm: &[u8]) -> Result<Self, String> {
        let module = Module::new(engine, wasm).map_err(|error| format!("{error:#}"))?;
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        linker
            .func_wrap("abide", "blake3_256", |mut caller: Caller<'_, ()>, ptr: i32, len: i32, out: i32| {
                let Some(Extern::Memory(memory)) = caller.get_export("memory") else { unreachable!() };
                let (ptr, len, out) = (ptr as usize, len as usize, out as usize);
                let hash = blake3::hash(&memory.data(&caller)[ptr..ptr + len]);
                memory.data_mut(&mut caller)[out..out + 32].copy_from_slice(hash.as_bytes());
            })
            .unwrap();
        let instance = linker.instantiate(&mut store, &module).map_err(|error| trap(&error))?;
        Ok(Self { store, instance })
    }

    /// As the host boots a machine.
    pub(super) fn boot(engine: &Engine, prepared: &Prepared) -> Result<Self, String> {
        let mut guest = Self::instantiate(engine, &prepared.module)?;
        guest.call(INIT)?;
        if prepared.state.initialize {
            guest.call("_initialize")?;
        }
        Ok(guest)
    }

    /// As the host restores one.
    pub(super) fn restore(engine: &Engine, prepared: &Prepared, image: &Image) -> Self {
        let mut guest = Self::instantiate(engine, &prepared.module).unwrap();
        guest.write(&prepared.state, image);
        guest.call(REDROP).unwrap();
        guest
    }

    pub(super) fn call(&mut self, name: &str) -> Result<(), String> {
        let function = self.instance.get_typed_func::<(), ()>(&mut self.store, name).unwrap();
        function.call(&mut self.store, ()).map_err(|error| trap(&error))
    }

    pub(super) fn step(&mut self, a: i32, b: i32) -> Result<i64, String> {
        let step = self.instance.get_typed_func::<(i32, i32), i64>(&mut self.store, "abide_step").unwrap();
        step.call(&mut self.store, (a, b)).map_err(|error| trap(&error))
    }

    pub(super) fn capture(&mut self, state: &StateMap) -> Image {
        let functions = self.functions(state);
        let number = |guest: &mut Self, reference: Option<&Func>| {
            reference.map(|function| functions[&function.to_raw(&mut guest.store)])
        };
        let mut image = Image { memories: Vec::new(), globals: Vec::new(), tables: Vec::new() };
        for memory in &state.memories {
            let memory = self.instance.get_memory(&mut self.store, &memory.export).unwrap();
            image.memories.push(memory.data(&self.store).to_vec());
        }
        for global in &state.globals {
            let value = self.global(&global.export).get(&mut self.store);
            image.globals.push(match value {
                Val::I32(value) => Value::Bits(u128::from(value.cast_unsigned())),
                Val::I64(value) => Value::Bits(u128::from(value.cast_unsigned())),
                Val::F32(bits) => Value::Bits(bits.into()),
                Val::F64(bits) => Value::Bits(bits.into()),
                Val::V128(bits) => Value::Bits(bits.as_u128()),
                Val::FuncRef(function) => Value::Function(number(self, function.as_ref())),
                other => panic!("{other:?}"),
            });
        }
        for table in &state.tables {
            let table = self.table(&table.export);
            let elements = (0..table.size(&self.store)).map(|index| {
                let element = table.get(&mut self.store, index).unwrap();
                number(self, element.unwrap_func())
            });
            image.tables.push(elements.collect());
        }
        image
    }

    fn write(&mut self, state: &StateMap, image: &Image) {
        for (memory, bytes) in state.memories.iter().zip(&image.memories) {
            let memory = self.instance.get_memory(&mut self.store, &memory.export).unwrap();
            assert!(memory.data(&self.store).iter().all(|byte| *byte == 0), "instantiation wrote memory");
            let pages = (bytes.len() - memory.data_size(&self.store)) / 65536;
            memory.grow(&mut self.store, pages as u64).unwrap();
            memory.data_mut(&mut self.store).copy_from_slice(bytes);
        }
        for (global, value) in state.globals.iter().zip(&image.globals) {
            let global = self.global(&global.export);
            let value = match (global.ty(&self.store).content(), value) {
                (wasmtime::ValType::I32, Value::Bits(bits)) => Val::I32(*bits as i32),
                (wasmtime::ValType::I64, Value::Bits(bits)) => Val::I64(*bits as i64),
                (wasmtime::ValType::F32, Value::Bits(bits)) => Val::F32(*bits as u32),
                (wasmtime::ValType::F64, Value::Bits(bits)) => Val::F64(*bits as u64),
                (wasmtime::ValType::V128, Value::Bits(bits)) => Val::V128((*bits).into()),
                (_, Value::Function(index)) => Val::FuncRef(index.map(|index| self.function(index))),
                other => panic!("{other:?}"),
            };
            global.set(&mut self.store, value).unwrap();
        }
        for (table, elements) in state.tables.iter().zip(&image.tables) {
            let table = self.table(&table.export);
            let more = elements.len() as u64 - table.size(&self.store);
            table.grow(&mut self.store, more, Ref::Func(None)).unwrap();
            for (index, element) in elements.iter().enumerate() {
                let element = element.map(|function| self.function(function));
                table.set(&mut self.store, index as u64, Ref::Func(element)).unwrap();
            }
        }
    }

    fn functions(&mut self, state: &StateMap) -> HashMap<*mut c_void, u32> {
        let functions = state.functions.iter();
        functions.map(|function| (self.function(function.index).to_raw(&mut self.store), function.index)).collect()
    }

    fn function(&mut self, index: u32) -> Func {
        self.instance.get_func(&mut self.store, &format!("abide:f{index}")).unwrap()
    }

    fn global(&mut self, export: &str) -> Global {
        self.instance.get_global(&mut self.store, export).unwrap()
    }

    fn table(&mut self, export: &str) -> Table {
        self.instance.get_table(&mut self.store, export).unwrap()
    }

    /// The bytes of the memory exported as `memory`, of a plain module too.
    pub(super) fn memory(&mut self) -> Vec<u8> {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        memory.data(&self.store).to_vec()
    }
}

/// The trap alone: where it happened differs between a module and its prepared form.
fn trap(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => format!("{error:#}"),
    }
}
