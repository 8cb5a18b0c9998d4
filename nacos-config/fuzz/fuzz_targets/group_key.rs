#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nacos_config_fuzz::group_key::run(data));
