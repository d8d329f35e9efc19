//! Every requirement of the ledger by its id, with its scope, and a test of that name for each.
//!
//! Scopes: A is about all services, S about changed source addresses alone, N is not applicable; D means that
//! `docs/deviations.md` says what is done otherwise, by twinpath or by Linux.

macro_rules! ledger {
    ($($name:ident $id:literal $scope:literal,)*) => {
        /// All ids, with their scopes, in the order of the page.
        pub(crate) const IDS: &[(&str, &str)] = &[$(($id, $scope)),*];

        mod requirement {
            $(
                #[test]
                fn $name() {
                    super::super::holds($id);
                }
            )*
        }
    };
}

ledger! {
    u_1 "U-1" "S D", u_2 "U-2" "S", u_3 "U-3" "S", u_3a "U-3a" "S", u_3b "U-3b" "S", u_4 "U-4" "N",
    u_5 "U-5" "A D", u_6 "U-6" "A", u_7 "U-7" "N", u_8 "U-8" "A", u_9 "U-9" "A", u_10 "U-10" "A",
    u_11 "U-11" "A", u_12 "U-12" "A", u_13 "U-13" "A", u_14 "U-14" "A",
    t_1 "T-1" "S D", t_2 "T-2" "A S", t_3 "T-3" "A", t_4 "T-4" "S N", t_5 "T-5" "A D", t_6 "T-6" "A",
    t_7 "T-7" "S", t_8 "T-8" "A", t_9 "T-9" "A", t_10 "T-10" "A",
    i_1 "I-1" "S", i_2 "I-2" "S D", i_3 "I-3" "A D", i_3a "I-3a" "A", i_3b "I-3b" "A", i_3c "I-3c" "A",
    i_3d "I-3d" "A", i_4 "I-4" "A", i_5 "I-5" "A", i_6 "I-6" "A", i_7 "I-7" "A", i_8 "I-8" "A",
    i_9 "I-9" "A", i_10 "I-10" "A", i_11 "I-11" "A", i_12 "I-12" "A", i_13 "I-13" "A",
    p_1 "P-1" "A", p_2 "P-2" "A D", p_3 "P-3" "S", p_4 "P-4" "S", p_5 "P-5" "A", p_6 "P-6" "S",
    p_7 "P-7" "S", p_8 "P-8" "S",
    c_1 "C-1" "A", c_2 "C-2" "A", c_3 "C-3" "A", c_4 "C-4" "A", c_5 "C-5" "A", c_6 "C-6" "A",
    c_7 "C-7" "A", c_8 "C-8" "A", c_9 "C-9" "A", c_10 "C-10" "A", c_11 "C-11" "A", c_12 "C-12" "A",
    c_13 "C-13" "A", c_14 "C-14" "A",
    m_1 "M-1" "A", m_2 "M-2" "A", m_3 "M-3" "A", m_4 "M-4" "A", m_5 "M-5" "A",
    x_1 "X-1" "N", x_2 "X-2" "N", x_3 "X-3" "A", x_4 "X-4" "N",
    k_1 "K-1" "A", k_2 "K-2" "A", k_3 "K-3" "A", k_4 "K-4" "A", k_5 "K-5" "A", k_6 "K-6" "A",
    k_7 "K-7" "A", k_8 "K-8" "A",
}
