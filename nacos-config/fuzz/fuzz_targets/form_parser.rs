#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nacos_config_fuzz::form_parser::run(data));
