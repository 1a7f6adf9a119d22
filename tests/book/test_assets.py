from kd_lib.book import assets


def test_icons_stay_under_any_of_their_names():
    script = 'a={"x-mark":[1,1,["close"],"f0","M0"],bars:[1,1,[],"f1","M1"],sun:[1,1,[],"f2",["M2","M3"]]};'
    assert assets.only_icons(script, {"close", "sun"}) == script.replace('bars:[1,1,[],"f1","M1"],', "")
