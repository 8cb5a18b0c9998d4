#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nacos_config_fuzz::properties_file::run(data));
