"""When an ensemble is distilled into one network, does the student inherit its features?"""
