#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nacos_naming_fuzz::selector_expression::run(data));
